FROM debian:bookworm AS build
WORKDIR /source
# The packages first: they change less often than the sources.
COPY dev ./
RUN ./dev setup
COPY . .
RUN ./dev build release thermocline-server thermocline

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
       libgrpc++1.51 libprotobuf32 libabsl20220623 libspdlog1.10 libfmt9 libxxhash0 librocksdb7.8 liburing2 libnghttp2-14 libssl3 libpq5 libmariadb3 \
       libcurl4 libpugixml1v5 libsimdjson14 ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 7070 --home-dir /data --shell /usr/sbin/nologin thermocline \
    && install -d -o thermocline -g thermocline /data
COPY --from=build /source/build/release/server/thermocline-server /source/build/release/client/cli/thermocline /usr/local/bin/
USER thermocline
VOLUME /data
EXPOSE 7070
ENTRYPOINT ["thermocline-server", "--listen", "0.0.0.0:7070", "--data", "/data"]

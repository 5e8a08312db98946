#include "client/cli/io.h"

#include <poll.h>

namespace thermocline::cli {

bool ReaderHasLeft(const Io& io) {
  pollfd poll_descriptor{.fd = io.out_descriptor, .events = 0, .revents = 0};
  return poll(&poll_descriptor, 1, 0) == 1 && (poll_descriptor.revents & (POLLERR | POLLHUP)) != 0;
}

}  // namespace thermocline::cli

"""Health, reflection, restarts, and who may connect."""

import unittest

import grpc
from google.protobuf import descriptor_pb2

import connection
from standard.health.v1 import health_pb2
from standard.reflection.v1alpha import reflection_pb2
from thermocline.v1 import key_value_pb2 as kv

SERVING = health_pb2.HealthCheckResponse.SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
SERVICES = {"thermocline.v1.KeyValue", "thermocline.v1.Segments", "thermocline.v1.Admin",
            "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}


def health(channel, method, kind):
    return getattr(channel, kind)(f"/grpc.health.v1.Health/{method}",
                                  health_pb2.HealthCheckRequest.SerializeToString,
                                  health_pb2.HealthCheckResponse.FromString)


class HealthTest(connection.Calls, unittest.TestCase):
    def test_check(self):
        check = health(self.server_channel, "Check", "unary_unary")
        for service in ("", *SERVICES):
            self.assertEqual(check(health_pb2.HealthCheckRequest(service=service)).status, SERVING)
        error = self.fails(lambda: check(health_pb2.HealthCheckRequest(service="größer")),
                           grpc.StatusCode.NOT_FOUND)
        self.assertEqual(error.details(), "there is no service größer")

    def test_watch(self):
        watch = health(self.server_channel, "Watch", "unary_stream")
        for service, status in (("", SERVING), ("thermocline.v1.KeyValue", SERVING), ("no", SERVICE_UNKNOWN)):
            states = watch(health_pb2.HealthCheckRequest(service=service))
            self.assertEqual(next(states).status, status)
            states.cancel()
            self.fails(lambda: next(states), grpc.StatusCode.CANCELLED)


class ReflectionTest(connection.Calls, unittest.TestCase):
    def ask(self, version, *requests):
        call = self.server_channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString)
        return list(call(iter(requests)))

    def test_services_and_files(self):
        request = reflection_pb2.ServerReflectionRequest
        for version in ("v1alpha", "v1"):
            listed, by_symbol, by_name, unknown = self.ask(
                version, request(list_services=""), request(file_containing_symbol="thermocline.v1.KeyValue"),
                request(file_by_filename="thermocline/v1/admin.proto"), request(file_containing_symbol="no.Such"))
            self.assertEqual({service.name for service in listed.list_services_response.service}, SERVICES)
            file = descriptor_pb2.FileDescriptorProto.FromString(
                by_symbol.file_descriptor_response.file_descriptor_proto[0])
            own = descriptor_pb2.FileDescriptorProto()
            kv.DESCRIPTOR.CopyToProto(own)
            # json_name is filled in or not, as it pleases who made the descriptor.
            self.assertEqual((file.name, file.package), (own.name, own.package))
            self.assertEqual(file.service, own.service)
            self.assertEqual([(m.name, [(f.name, f.number, f.type) for f in m.field]) for m in file.message_type],
                             [(m.name, [(f.name, f.number, f.type) for f in m.field]) for m in own.message_type])
            # With segments.proto, which it imports.
            self.assertEqual(len(by_name.file_descriptor_response.file_descriptor_proto), 2)
            self.assertEqual(unknown.error_response.error_code, grpc.StatusCode.NOT_FOUND.value[0])


class RestartTest(connection.Calls, unittest.TestCase):
    def test_a_channel_connects_again(self):
        key = connection.new_key()
        for i in range(2):
            version = self.key_value.Set(kv.SetRequest(key=key, value=b"%d" % i)).version
            states = health(self.server_channel, "Watch", "unary_stream")(health_pb2.HealthCheckRequest())
            next(states)
            connection.restart_server()
            self.fails(lambda: list(states), grpc.StatusCode.UNAVAILABLE)
            found = self.key_value.Get(kv.GetRequest(key=key), wait_for_ready=True,
                                       timeout=connection.PATIENCE_SECONDS)
            self.assertEqual((found.value, found.version), (b"%d" % i, version))


@unittest.skipIf(connection.SECURITY == "plain", "no TLS")
class TlsTest(connection.Calls, unittest.TestCase):
    def refused(self, **credentials):
        for address in (connection.SERVER, connection.ECHO):
            with connection.new_channel(address, credentials=grpc.ssl_channel_credentials(**credentials)) as channel:
                check = channel.unary_unary("/grpc.health.v1.Health/Check")
                self.fails(lambda: check(b"", timeout=connection.PATIENCE_SECONDS), grpc.StatusCode.UNAVAILABLE)

    def test_a_server_that_somebody_else_vouches_for(self):
        self.refused(root_certificates=connection.read_file("CONFORMANCE_OTHER_CA"))

    @unittest.skipIf(connection.SECURITY != "mutual-tls", "clients need no certificate")
    def test_clients_that_are_not_known(self):
        ca = connection.read_file("CONFORMANCE_CA")
        self.refused(root_certificates=ca)
        self.refused(root_certificates=ca, private_key=connection.read_file("CONFORMANCE_STRANGER_KEY"),
                     certificate_chain=connection.read_file("CONFORMANCE_STRANGER_CERT"))

    def test_plain_text_is_refused(self):
        with grpc.insecure_channel(connection.SERVER) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            self.fails(lambda: check(b"", timeout=connection.PATIENCE_SECONDS), grpc.StatusCode.UNAVAILABLE)

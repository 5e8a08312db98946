"""What gRPC promises of a call: the four types, status, deadlines, cancellation, metadata, compression."""

import threading
import unittest

import grpc

import connection
import echo_pb2
from thermocline.v1 import key_value_pb2 as kv

CANCELLED = grpc.StatusCode.CANCELLED
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
NOTHING = echo_pb2.Nothing()

WORDS = "größer als 100 %: 日本語, 🚀\r\n\tend "


class CallTypesTest(connection.Calls, unittest.TestCase):
    def test_unary(self):
        for size in (0, 1, 16_383, 16_384, 65_536, 1 << 20, 16 << 20):
            body = b"b" * size
            self.assertTrue(self.echo.Unary(echo_pb2.Message(body=body)).body == body, size)

    def test_client_stream(self):
        numbers = (echo_pb2.Number(value=i, padding=bytes(i)) for i in range(5000))
        self.assertEqual(self.echo.Sum(numbers).value, sum(range(5000)))
        self.assertEqual(self.echo.Sum(iter(())).value, 0)

    def test_an_answer_that_does_not_wait_for_the_end_of_the_client(self):
        answered = threading.Event()

        def numbers():
            yield echo_pb2.Number(value=1)
            yield echo_pb2.Number(value=-1)
            answered.wait(connection.PATIENCE_SECONDS)

        try:
            self.fails(lambda: self.echo.Sum(numbers()), INVALID_ARGUMENT)
        finally:
            answered.set()

    def test_server_stream(self):
        numbers = self.echo.Count(echo_pb2.CountRequest(count=5000, padding_bytes=2000))
        self.assertEqual([number.value for number in numbers], list(range(5000)))

    def test_a_server_stream_that_fails_at_its_end(self):
        failure = echo_pb2.Failure(code=grpc.StatusCode.DATA_LOSS.value[0], message=WORDS)
        numbers = self.echo.Count(echo_pb2.CountRequest(count=3, failure=failure))
        seen = []
        error = self.fails(lambda: seen.extend(number.value for number in numbers), grpc.StatusCode.DATA_LOSS)
        self.assertEqual(seen, [0, 1, 2])
        self.assertEqual(error.details(), WORDS)

    def test_dialogue(self):
        asked = threading.Semaphore(1)

        # The next question comes when the answer to the last one is there.
        def questions():
            for i in range(500):
                asked.acquire()
                yield echo_pb2.Message(body=b"%d" % i * 100)

        answers = []
        for answer in self.echo.Dialogue(questions()):
            answers.append(answer.body)
            asked.release()
        self.assertEqual(answers, [b"%d" % i * 100 for i in range(500)])

    def test_a_dialogue_that_is_all_questions_first(self):
        bodies = [b"%d" % i * 1000 for i in range(2000)]
        answers = self.echo.Dialogue(echo_pb2.Message(body=body) for body in bodies)
        self.assertTrue([answer.body for answer in answers] == bodies)

    def test_a_dialogue_that_fails(self):
        failure = echo_pb2.Failure(code=9, message=WORDS)
        questions = [echo_pb2.Message(body=b"a"), echo_pb2.Message(failure=failure), echo_pb2.Message(body=b"b")]
        answers = []
        error = self.fails(lambda: answers.extend(self.echo.Dialogue(iter(questions))),
                           grpc.StatusCode.FAILED_PRECONDITION)
        self.assertEqual(error.details(), WORDS)
        self.assertLessEqual(len(answers), 1)


class StatusTest(connection.Calls, unittest.TestCase):
    def test_codes_and_messages(self):
        for code in grpc.StatusCode:
            if code == grpc.StatusCode.OK:
                continue
            error = self.fails(lambda: self.echo.Fail(echo_pb2.Failure(code=code.value[0], message=WORDS)), code)
            self.assertEqual(error.details(), WORDS)
        self.assertEqual(self.echo.Fail(echo_pb2.Failure()), NOTHING)

    def test_a_message_that_is_too_long_is_cut_between_characters(self):
        for long in ("ö" * 3000, "a" + "ö" * 3000, "a" + "🚀" * 3000):
            error = self.fails(lambda: self.echo.Fail(echo_pb2.Failure(code=5, message=long)),
                               grpc.StatusCode.NOT_FOUND)
            self.assertTrue(long.startswith(error.details()), error.details()[-20:])
            self.assertGreater(len(error.details()), 300)

    def test_details(self):
        failure = echo_pb2.Failure(code=5, message=WORDS)
        failure.details.add().Pack(echo_pb2.DelayRequest(milliseconds=7))
        failure.details.add().Pack(echo_pb2.Message(body=bytes(range(256))))
        error = self.fails(lambda: self.echo.Fail(failure), grpc.StatusCode.NOT_FOUND)
        details = echo_pb2.StatusDetails.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        self.assertEqual((details.code, details.message), (5, WORDS))
        key = lambda detail: detail.type_url  # noqa: E731
        self.assertEqual(sorted(details.details, key=key), sorted(failure.details, key=key))

    def test_unknown_methods(self):
        for path in ("/thermocline.v1.KeyValue/Nothing", "/nothing.at.All/Get"):
            error = self.fails(lambda: self.server_channel.unary_unary(path)(b""), UNIMPLEMENTED)
            self.assertIn(path, error.details())

    def test_a_message_that_is_none(self):
        get = self.server_channel.unary_unary("/thermocline.v1.KeyValue/Get")
        error = self.fails(lambda: get(b"\xff\xff\xff"), grpc.StatusCode.INTERNAL)
        self.assertIn("thermocline.v1.GetRequest", error.details())

    def test_two_messages_for_a_method_that_takes_one(self):
        get = self.server_channel.stream_unary("/thermocline.v1.KeyValue/Get")
        self.fails(lambda: get(iter([b"", b""])), grpc.StatusCode.INTERNAL)
        self.fails(lambda: get(iter([])), grpc.StatusCode.INTERNAL)


class DeadlineTest(connection.Calls, unittest.TestCase):
    def test_a_deadline_passes(self):
        for milliseconds in (1, 20, 100):
            self.fails(lambda: self.echo.Delay(echo_pb2.DelayRequest(milliseconds=3_600_000),
                                               timeout=milliseconds / 1000), DEADLINE_EXCEEDED)
        connection.until(lambda: self.echo.Tally(NOTHING).delays == 0)

    def test_a_deadline_passes_in_a_stream(self):
        numbers = self.echo.Count(echo_pb2.CountRequest(), timeout=0.1)
        self.fails(lambda: list(numbers), DEADLINE_EXCEEDED)
        connection.until(lambda: self.echo.Tally(NOTHING).counts == 0)

    def test_a_very_short_deadline(self):
        # Some are answered before it passes; whatever becomes of the others, the connection goes on.
        for timeout in [0.000_001, 0.000_1, 0.001] * 100:
            call = self.key_value.Get.future(kv.GetRequest(key=b"k"), timeout=timeout)
            self.assertIn(call.code(), (grpc.StatusCode.OK, DEADLINE_EXCEEDED))
        self.key_value.Get(kv.GetRequest(key=b"k"), timeout=connection.PATIENCE_SECONDS)

    def test_the_server_hears_of_it_whatever_its_unit(self):
        for seconds in (10, 90.5, 3600, 86_400, 10_000_000, 50_000_000):
            heard = self.echo.Head(NOTHING, timeout=seconds).timeout_ns / 1e9
            self.assertGreater(heard, seconds * 0.9 - connection.PATIENCE_SECONDS)
            self.assertLess(heard, seconds * 1.05)
        self.assertFalse(self.echo.Head(NOTHING).HasField("timeout_ns"))


class CancellationTest(connection.Calls, unittest.TestCase):
    def test_of_a_call(self):
        call = self.echo.Delay.future(echo_pb2.DelayRequest(milliseconds=3_600_000))
        connection.until(lambda: self.echo.Tally(NOTHING).delays == 1)
        call.cancel()
        self.assertEqual(call.code(), CANCELLED)
        connection.until(lambda: self.echo.Tally(NOTHING).delays == 0)

    def test_of_a_server_stream(self):
        numbers = self.echo.Count(echo_pb2.CountRequest(padding_bytes=1000))
        for _ in range(100):
            next(numbers)
        self.assertEqual(self.echo.Tally(NOTHING).counts, 1)
        numbers.cancel()
        self.fails(lambda: list(numbers), CANCELLED)
        connection.until(lambda: self.echo.Tally(NOTHING).counts == 0)

    def test_of_a_client_stream(self):
        cancelled = threading.Event()

        def numbers():
            yield echo_pb2.Number(value=1)
            cancelled.wait(connection.PATIENCE_SECONDS)

        call = self.echo.Sum.future(numbers())
        connection.until(lambda: self.echo.Tally(NOTHING).sums == 1)
        call.cancel()
        cancelled.set()
        connection.until(lambda: self.echo.Tally(NOTHING).sums == 0)

    def test_of_a_scan(self):
        key = connection.new_key()
        for i in range(32):
            self.key_value.Set(kv.SetRequest(key=key + b"%d" % i, value=bytes(1 << 20), durability=kv.MEMORY))
        for _ in range(20):
            scan = self.key_value.Scan(kv.ScanRequest(prefix=key))
            while not next(scan).entries:
                pass
            scan.cancel()
            self.fails(lambda: list(scan), CANCELLED)
        count = sum(len(page.entries) for page in self.key_value.Scan(kv.ScanRequest(prefix=key)))
        self.assertEqual(count, 32)


class MetadataTest(connection.Calls, unittest.TestCase):
    def heard(self, **call):
        response = self.echo.Head(NOTHING, **call)
        return response, [(field.name, field.value) for field in response.metadata]

    def test_is_heard(self):
        sent = [("name", "value"), ("twice", "one"), ("twice", "two"), ("bytes-bin", bytes(range(256))),
                ("empty-bin", b""), ("punctuation", "a=b; c,d \"e\" %41 ~")]
        _, heard = self.heard(metadata=sent)
        for name, value in sent:
            self.assertIn((name, value if isinstance(value, bytes) else value.encode()), heard)
        self.assertEqual([value for name, value in heard if name == "twice"], [b"one", b"two"])

    def test_of_30_kib(self):
        one = ("large", "l" * (30 << 10))
        many = [(f"name-{i}", "v" * 200) for i in range(110)]
        raw = ("raw-bin", bytes(range(256)) * 80)
        for _ in range(3):
            self.assertIn((one[0], one[1].encode()), self.heard(metadata=[one])[1])
            heard = self.heard(metadata=many)[1]
            for name, value in many:
                self.assertIn((name, value.encode()), heard)
            self.assertIn(raw, self.heard(metadata=[raw])[1])
            self.key_value.Get(kv.GetRequest(key=b"k"), metadata=[one])

    def test_of_more_than_the_server_takes(self):
        with self.assertRaises(grpc.RpcError):
            self.echo.Head(NOTHING, metadata=[("large", "l" * (100 << 10))])
        self.assertEqual(self.echo.Unary(echo_pb2.Message(body=b"b")).body, b"b")


class CompressionTest(connection.Calls, unittest.TestCase):
    def test_gzip(self):
        with connection.new_channel(connection.ECHO, compression=grpc.Compression.Gzip) as channel:
            echo = connection.echo(channel)
            head = echo.Head(NOTHING)
            self.assertTrue(head.gzip and head.accepts_gzip)
            for body in (b"", b"short", b"z" * 100_000, b"z" * (16 << 20)):
                self.assertTrue(echo.Unary(echo_pb2.Message(body=body)).body == body)
            self.assertEqual(echo.Sum(echo_pb2.Number(value=i, padding=bytes(5000)) for i in range(100)).value, 4950)
            numbers = echo.Count(echo_pb2.CountRequest(count=100, padding_bytes=5000))
            self.assertEqual([number.value for number in numbers], list(range(100)))
            bodies = [b"%d" % i * 1000 for i in range(100)]
            self.assertEqual([m.body for m in echo.Dialogue(echo_pb2.Message(body=b) for b in bodies)], bodies)
        self.assertFalse(self.echo.Head(NOTHING).gzip)

    def test_gzip_of_values(self):
        key = connection.new_key()
        with connection.new_channel(connection.SERVER, compression=grpc.Compression.Gzip) as channel:
            key_value = connection.key_value(channel)
            value = b"compressible " * 100_000
            key_value.Set(kv.SetRequest(key=key, value=value))
            self.assertTrue(key_value.Get(kv.GetRequest(key=key)).value == value)
            pages = key_value.Scan(kv.ScanRequest(prefix=key))
            self.assertTrue([e.value for page in pages for e in page.entries] == [value])
            # A message whose size is the server's to find out.
            error = self.fails(lambda: key_value.Set(kv.SetRequest(key=key, value=bytes(17 << 20))),
                               grpc.StatusCode.RESOURCE_EXHAUSTED)
            self.assertIn("17039360", error.details())
        self.assertTrue(self.key_value.Get(kv.GetRequest(key=key)).value == value)

    def test_deflate_is_refused(self):
        call = lambda: self.echo.Unary(echo_pb2.Message(body=b"b" * 1000), compression=grpc.Compression.Deflate)  # noqa: E731
        self.assertIn("deflate", self.fails(call, UNIMPLEMENTED).details())


class ManyCallsTest(connection.Calls, unittest.TestCase):
    def test_1000_under_way_on_one_channel(self):
        request = echo_pb2.MeetRequest(room=connection.new_key().decode(), count=1000)
        calls = [self.echo.Meet.future(request, timeout=connection.PATIENCE_SECONDS) for _ in range(1000)]
        self.assertEqual([call.result() for call in calls], [NOTHING] * 1000)

    def test_more_than_the_server_allows_wait(self):
        key = connection.new_key()
        sets = [self.key_value.Set.future(kv.SetRequest(key=key + b"%d" % i, value=b"%d" % i, durability=kv.MEMORY))
                for i in range(3000)]
        self.assertTrue(all(call.result().applied for call in sets))
        gets = [self.key_value.Get.future(kv.GetRequest(key=key + b"%d" % i)) for i in range(3000)]
        self.assertEqual([call.result().value for call in gets], [b"%d" % i for i in range(3000)])

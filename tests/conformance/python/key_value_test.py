"""The whole KeyValue API and Admin, with every field."""

import unittest

import grpc

import connection
from thermocline.v1 import admin_pb2
from thermocline.v1 import key_value_pb2 as kv

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
Entry = kv.BatchGetResponse.Entry
DAY_MS = 24 * 3600 * 1000


class KeyValueTest(connection.Calls, unittest.TestCase):
    def get(self, key, **fields):
        return self.key_value.Get(kv.GetRequest(key=key, **fields))

    def set(self, key, value=b"", **fields):
        return self.key_value.Set(kv.SetRequest(key=key, value=value, **fields))

    def delete(self, key, **fields):
        return self.key_value.Delete(kv.DeleteRequest(key=key, **fields))

    def test_set_get_delete(self):
        key = connection.new_key() + bytes(range(256))
        self.assertEqual(self.get(key), kv.GetResponse())
        first = self.set(key, bytes(range(256)))
        self.assertTrue(first.applied)
        self.assertGreater(first.version, 0)
        self.assertEqual(self.get(key),
                         kv.GetResponse(found=True, value=bytes(range(256)), version=first.version))
        self.assertEqual(self.get(key, no_value=True), kv.GetResponse(found=True, version=first.version))
        second = self.set(key, b"")
        self.assertGreater(second.version, first.version)
        self.assertEqual(self.get(key), kv.GetResponse(found=True, version=second.version))
        deleted = self.delete(key)
        self.assertTrue(deleted.applied)
        self.assertGreater(deleted.version, second.version)
        self.assertFalse(self.get(key).found)
        self.assertTrue(self.delete(key).applied)

    def test_conditions(self):
        key = connection.new_key()
        absent = kv.Condition(if_absent=True)
        present = kv.Condition(if_present=True)
        self.assertEqual(self.set(key, b"0", condition=present), kv.WriteResponse())
        self.assertEqual(self.delete(key, condition=present), kv.WriteResponse())
        first = self.set(key, b"1", condition=absent)
        self.assertTrue(first.applied)
        unmet = kv.WriteResponse(applied=False, version=first.version)
        self.assertEqual(self.set(key, b"2", condition=absent), unmet)
        self.assertEqual(self.set(key, b"2", condition=kv.Condition(if_version=first.version + 1)), unmet)
        self.assertEqual(self.delete(key, condition=kv.Condition(if_version=first.version + 1)), unmet)
        self.assertEqual(self.get(key).value, b"1")
        second = self.set(key, b"3", condition=kv.Condition(if_version=first.version))
        self.assertTrue(second.applied)
        third = self.set(key, b"4", condition=present)
        self.assertTrue(third.applied)
        self.assertTrue(self.delete(key, condition=kv.Condition(if_version=third.version)).applied)
        self.assertFalse(self.get(key).found)

    def test_ttl(self):
        key = connection.new_key()
        self.set(key, b"v", ttl_ms=DAY_MS)
        found = self.get(key, no_value=True)
        self.assertTrue(found.HasField("ttl_ms"))
        self.assertLessEqual(found.ttl_ms, DAY_MS)
        self.assertGreater(found.ttl_ms, DAY_MS // 2)
        self.set(key, b"v")
        self.assertFalse(self.get(key).HasField("ttl_ms"))
        self.set(key, b"v", ttl_ms=1)
        connection.until(lambda: not self.get(key).found)

    def test_durability(self):
        key = connection.new_key()
        for durability in (kv.DURABILITY_UNSPECIFIED, kv.SYNC, kv.MEMORY):
            version = self.set(key, b"v", durability=durability).version
            self.assertEqual(self.get(key).version, version)
            self.assertTrue(self.delete(key, durability=durability).applied)

    def test_batches(self):
        key = connection.new_key()
        write = kv.BatchWriteRequest.Write
        response = self.key_value.BatchWrite(kv.BatchWriteRequest(writes=[
            write(set=kv.SetRequest(key=key + b"a", value=b"1", ttl_ms=DAY_MS, durability=kv.MEMORY)),
            write(set=kv.SetRequest(key=key + b"b", value=b"2" * 1000)),
            write(set=kv.SetRequest(key=key + b"a", value=b"3", condition=kv.Condition(if_absent=True))),
            write(delete=kv.DeleteRequest(key=key + b"c", condition=kv.Condition(if_present=True))),
            write(set=kv.SetRequest(key=b"", value=b"no key")),
            write(),
        ]))
        kinds = [result.WhichOneof("kind") for result in response.results]
        self.assertEqual(kinds, ["written"] * 4 + ["error"] * 2)
        self.assertEqual([result.written.applied for result in response.results[:4]], [True, True, False, False])
        first, second = (result.written.version for result in response.results[:2])
        self.assertEqual(response.results[2].written.version, first)
        self.assertGreater(second, first)
        for result, part in zip(response.results[4:], ("key is empty", "neither set nor delete")):
            self.assertEqual(result.error.code, INVALID_ARGUMENT.value[0])
            self.assertIn(part, result.error.message)

        keys = [key + b"b", key + b"a", key + b"missing", key + b"b", key + b"a"]
        entries = self.key_value.BatchGet(kv.BatchGetRequest(keys=keys)).entries
        self.assertEqual([entry.state for entry in entries],
                         [Entry.FOUND, Entry.FOUND, Entry.MISSING, Entry.FOUND, Entry.FOUND])
        self.assertEqual([entry.value for entry in entries], [b"2" * 1000, b"1", b"", b"2" * 1000, b"1"])
        self.assertEqual([entry.version for entry in entries], [second, first, 0, second, first])
        self.assertEqual([entry.HasField("ttl_ms") for entry in entries], [False, True, False, False, True])
        entries = self.key_value.BatchGet(kv.BatchGetRequest(keys=[key + b"b"] * 3, max_bytes=1500)).entries
        self.assertEqual(sorted(entry.state for entry in entries), [Entry.FOUND, Entry.TOO_LARGE, Entry.TOO_LARGE])
        self.assertEqual({entry.version for entry in entries}, {second})
        self.assertEqual(len(self.key_value.BatchGet(kv.BatchGetRequest()).entries), 0)

    def test_largest_batch(self):
        key = connection.new_key()
        request = kv.BatchWriteRequest()
        for i in range(65_536):
            request.writes.add().set.CopyFrom(kv.SetRequest(key=key + b"%d" % i, value=b"%d" % i,
                                                            durability=kv.MEMORY))
        results = self.key_value.BatchWrite(request).results
        self.assertEqual(len(results), 65_536)
        self.assertTrue(all(result.written.applied for result in results))
        keys = [write.set.key for write in request.writes]
        entries = self.key_value.BatchGet(kv.BatchGetRequest(keys=keys)).entries
        self.assertEqual([entry.value for entry in entries], [b"%d" % i for i in range(65_536)])
        scanned = [entry.key for page in self.key_value.Scan(kv.ScanRequest(prefix=key)) for entry in page.entries]
        self.assertEqual(sorted(scanned), sorted(keys))

    def test_scan(self):
        key = connection.new_key()
        values = {key + b"%d" % i: b"value %d" % i for i in range(100)}
        versions = {name: self.set(name, value, ttl_ms=DAY_MS, durability=kv.MEMORY).version
                    for name, value in values.items()}
        pages = list(self.key_value.Scan(kv.ScanRequest(prefix=key)))
        self.assertEqual([page.done for page in pages], [False] * (len(pages) - 1) + [True])
        entries = [entry for page in pages for entry in page.entries]
        self.assertEqual({entry.key: entry.value for entry in entries}, values)
        self.assertEqual({entry.key: entry.version for entry in entries}, versions)
        self.assertTrue(all(0 < entry.ttl_ms <= DAY_MS for entry in entries))

        seen, cursor, done = [], b"", False
        while not done:
            page = None
            for page in self.key_value.Scan(
                    kv.ScanRequest(prefix=key, cursor=cursor, limit=30, no_values=True)):
                seen += page.entries
                cursor, done = page.cursor, page.done
        self.assertEqual(sorted(entry.key for entry in seen), sorted(values))
        self.assertEqual({entry.value for entry in seen}, {b""})

    def test_errors(self):
        key = connection.new_key()
        for call, part in (
            (lambda: self.get(b""), "key is empty; a key has 1 to 65536 bytes"),
            (lambda: self.get(b"k" * 65_537), "key has 65537 bytes; the limit is 65536"),
            (lambda: self.set(b"", b"v"), "key is empty"),
            (lambda: self.set(key, ttl_ms=0), "ttl_ms is 0"),
            (lambda: self.set(key, ttl_ms=-1), "ttl_ms is -1"),
            (lambda: self.set(key, ttl_ms=3_153_600_000_001), "ttl_ms is 3153600000001"),
            (lambda: self.set(key, durability=3), "durability is 3"),
            (lambda: self.set(key, condition=kv.Condition(if_absent=False)), "if_absent is false"),
            (lambda: self.set(key, condition=kv.Condition(if_present=False)), "if_present is false"),
            (lambda: self.set(key, condition=kv.Condition(if_version=0)), "if_version is 0"),
            (lambda: self.set(key, condition=kv.Condition()), "no kind"),
            (lambda: self.delete(b""), "key is empty"),
            (lambda: self.delete(key, durability=3), "durability is 3"),
            (lambda: self.key_value.BatchGet(kv.BatchGetRequest(keys=[b"k"] * 65_537)), "65537 keys"),
            (lambda: self.key_value.BatchGet(kv.BatchGetRequest(max_bytes=(16 << 20) + 1)), "max_bytes is 16777217"),
            (lambda: self.key_value.BatchWrite(
                kv.BatchWriteRequest(writes=[kv.BatchWriteRequest.Write()] * 65_537)), "65537 writes"),
            (lambda: list(self.key_value.Scan(kv.ScanRequest(cursor=b"no cursor"))), "cursor"),
            (lambda: list(self.key_value.Scan(kv.ScanRequest(prefix=b"p" * 65_537))), "prefix has 65537 bytes"),
        ):
            with self.subTest(part):
                self.assertIn(part, self.fails(call, INVALID_ARGUMENT).details())
        self.assertFalse(self.get(key).found)

    def test_largest_key_and_values(self):
        key = connection.new_key().ljust(65_536, b"k")
        value = bytes(range(256)) * (16 << 12)
        self.assertEqual(len(value), 16 << 20)
        version = self.set(key, value).version
        found = self.get(key)
        self.assertEqual(found.version, version)
        self.assertTrue(found.value == value)
        entry, = self.key_value.BatchGet(kv.BatchGetRequest(keys=[key], max_bytes=16 << 20)).entries
        self.assertTrue(entry.value == value)
        page, = (page for page in self.key_value.Scan(kv.ScanRequest(prefix=key)) if page.entries)
        self.assertTrue(page.entries[0].value == value)
        error = self.fails(lambda: self.set(key, value + b"1"), INVALID_ARGUMENT)
        self.assertIn("value has 16777217 bytes; the limit is 16777216", error.details())
        error = self.fails(lambda: self.set(key, value + bytes(1 << 20)), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertIn("the limit is 17039360", error.details())
        self.assertTrue(self.get(key).value == value)
        self.delete(key)

    def test_admin(self):
        key = connection.new_key()
        before = self.admin.Stats(admin_pb2.StatsRequest())
        self.set(key, b"v" * 1000, durability=kv.MEMORY)
        self.set(key, b"w" * 1000, durability=kv.MEMORY)
        self.get(key)
        self.admin.Flush(admin_pb2.FlushRequest())
        after = self.admin.Stats(admin_pb2.StatsRequest())
        self.assertEqual(after.memory.limit_bytes, 256 << 20)
        self.assertIn("index", [share.name for share in after.memory.shares])
        self.assertTrue(after.log.accepts_writes)
        self.assertEqual(after.operations.sets, before.operations.sets + 2)
        self.assertEqual(after.operations.gets, before.operations.gets + 1)
        self.assertRegex(after.server_version, r"^\d+\.\d+\.\d+$")
        self.assertIsInstance(self.admin.Compact(admin_pb2.CompactRequest(), timeout=connection.PATIENCE_SECONDS),
                              admin_pb2.CompactResponse)

'use strict';
// The whole KeyValue API and Admin, with every field.

const assert = require('node:assert');
const { test } = require('node:test');

const { status } = require('@grpc/grpc-js');

const { admin, call, collect, fails, inSeconds, keyValue, newKey, until } = require('./connection.js');

const dayMs = 24 * 3600 * 1000;
const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));

const get = (key, fields) => call(keyValue, 'Get', { key: Buffer.from(key), ...fields });
const set = (key, value, fields) =>
  call(keyValue, 'Set', { key: Buffer.from(key), value: Buffer.from(value), ...fields });
const remove = (key, fields) => call(keyValue, 'Delete', { key: Buffer.from(key), ...fields });
const scan = (fields) => collect(keyValue.Scan(fields));

test('set, get, delete', async () => {
  const key = Buffer.concat([Buffer.from(newKey()), bytes]);
  assert.strictEqual((await get(key)).found, false);
  const first = await set(key, bytes);
  assert.strictEqual(first.applied, true);
  let found = await get(key);
  assert.strictEqual(found.found, true);
  assert.deepStrictEqual(found.value, bytes);
  assert.strictEqual(found.version, first.version);
  assert.strictEqual(found.ttl_ms, undefined);
  found = await get(key, { no_value: true });
  assert.deepStrictEqual([found.found, found.value.length, found.version], [true, 0, first.version]);
  const second = await set(key, '');
  assert.ok(BigInt(second.version) > BigInt(first.version));
  found = await get(key);
  assert.deepStrictEqual([found.found, found.value.length], [true, 0]);
  const deleted = await remove(key);
  assert.ok(deleted.applied && BigInt(deleted.version) > BigInt(second.version));
  assert.strictEqual((await get(key)).found, false);
  assert.strictEqual((await remove(key)).applied, true);
});

test('conditions', async () => {
  const key = newKey();
  const none = { applied: false, version: '0' };
  assert.deepEqual(await set(key, '0', { condition: { if_present: true } }), none);
  assert.deepEqual(await remove(key, { condition: { if_present: true } }), none);
  const first = await set(key, '1', { condition: { if_absent: true } });
  assert.strictEqual(first.applied, true);
  const unmet = { applied: false, version: first.version };
  const other = String(BigInt(first.version) + 1n);
  assert.deepEqual(await set(key, '2', { condition: { if_absent: true } }), unmet);
  assert.deepEqual(await set(key, '2', { condition: { if_version: other } }), unmet);
  assert.deepEqual(await remove(key, { condition: { if_version: other } }), unmet);
  assert.strictEqual((await get(key)).value.toString(), '1');
  assert.ok((await set(key, '3', { condition: { if_version: first.version } })).applied);
  const third = await set(key, '4', { condition: { if_present: true } });
  assert.ok(third.applied);
  assert.ok((await remove(key, { condition: { if_version: third.version } })).applied);
  assert.strictEqual((await get(key)).found, false);
});

test('ttl', async () => {
  const key = newKey();
  await set(key, 'v', { ttl_ms: dayMs });
  const left = Number((await get(key, { no_value: true })).ttl_ms);
  assert.ok(left > dayMs / 2 && left <= dayMs, String(left));
  await set(key, 'v');
  assert.strictEqual((await get(key)).ttl_ms, undefined);
  await set(key, 'v', { ttl_ms: 1 });
  await until(async () => !(await get(key)).found);
});

test('durability', async () => {
  const key = newKey();
  for (const durability of ['DURABILITY_UNSPECIFIED', 'SYNC', 'MEMORY']) {
    const { version } = await set(key, 'v', { durability });
    assert.strictEqual((await get(key)).version, version);
    assert.ok((await remove(key, { durability })).applied);
  }
});

test('batches', async () => {
  const key = newKey();
  const named = (name) => Buffer.from(key + name);
  const { results } = await call(keyValue, 'BatchWrite', {
    writes: [
      { set: { key: named('a'), value: Buffer.from('1'), ttl_ms: dayMs, durability: 'MEMORY' } },
      { set: { key: named('b'), value: Buffer.alloc(1000, '2') } },
      { set: { key: named('a'), value: Buffer.from('3'), condition: { if_absent: true } } },
      { delete: { key: named('c'), condition: { if_present: true } } },
      { set: { key: Buffer.alloc(0), value: Buffer.from('no key') } },
      {},
    ],
  });
  assert.deepStrictEqual(results.map((result) => result.kind), [...Array(4).fill('written'), 'error', 'error']);
  assert.deepStrictEqual(results.slice(0, 4).map((result) => result.written.applied), [true, true, false, false]);
  const [first, second] = results.map((result) => result.written?.version);
  assert.strictEqual(results[2].written.version, first);
  assert.ok(BigInt(second) > BigInt(first));
  assert.deepStrictEqual(results.slice(4).map((result) => result.error.code), Array(2).fill(status.INVALID_ARGUMENT));
  assert.match(results[4].error.message, /key is empty/);
  assert.match(results[5].error.message, /neither set nor delete/);

  const keys = ['b', 'a', 'missing', 'b', 'a'].map(named);
  let { entries } = await call(keyValue, 'BatchGet', { keys });
  assert.deepStrictEqual(entries.map((entry) => entry.state), ['FOUND', 'FOUND', 'MISSING', 'FOUND', 'FOUND']);
  assert.deepStrictEqual(entries.map((entry) => entry.version), [second, first, '0', second, first]);
  assert.deepStrictEqual(entries.map((entry) => entry.value.length), [1000, 1, 0, 1000, 1]);
  assert.deepStrictEqual(entries.map((entry) => entry.ttl_ms !== undefined), [false, true, false, false, true]);
  ({ entries } = await call(keyValue, 'BatchGet', { keys: Array(3).fill(named('b')), max_bytes: 1500 }));
  assert.deepStrictEqual(entries.map((entry) => entry.state).sort(), ['FOUND', 'TOO_LARGE', 'TOO_LARGE']);
  assert.deepStrictEqual(entries.map((entry) => entry.version), Array(3).fill(second));
});

test('scan', async () => {
  const key = newKey();
  const names = Array.from({ length: 100 }, (_, i) => `${key}${i}`).sort();
  for (const name of names) await set(name, `value of ${name}`, { ttl_ms: dayMs, durability: 'MEMORY' });
  const pages = await scan({ prefix: Buffer.from(key) });
  assert.deepStrictEqual(pages.map((page) => page.done), [...Array(pages.length - 1).fill(false), true]);
  const entries = pages.flatMap((page) => page.entries);
  assert.deepStrictEqual(entries.map((entry) => entry.key.toString()).sort(), names);
  for (const entry of entries) {
    assert.strictEqual(entry.value.toString(), `value of ${entry.key}`);
    assert.ok(entry.version !== '0' && entry.ttl_ms > 0 && entry.ttl_ms <= dayMs);
  }
  const seen = [];
  let last = { cursor: Buffer.alloc(0), done: false };
  while (!last.done) {
    const some = await scan({ prefix: Buffer.from(key), cursor: last.cursor, limit: 30, no_values: true });
    seen.push(...some.flatMap((page) => page.entries));
    last = some.at(-1);
  }
  assert.deepStrictEqual(seen.map((entry) => entry.key.toString()).sort(), names);
  assert.ok(seen.every((entry) => entry.value.length === 0));
});

test('errors', async () => {
  const key = newKey();
  for (const [start, part] of [
    [() => get(''), /key is empty; a key has 1 to 65536 bytes/],
    [() => get('k'.repeat(65_537)), /key has 65537 bytes; the limit is 65536/],
    [() => set('', 'v'), /key is empty/],
    [() => set(key, '', { ttl_ms: 0 }), /ttl_ms is 0/],
    [() => set(key, '', { ttl_ms: -1 }), /ttl_ms is -1/],
    [() => set(key, '', { ttl_ms: 3_153_600_000_001 }), /ttl_ms is 3153600000001/],
    [() => set(key, '', { durability: 3 }), /durability is 3/],
    [() => set(key, '', { condition: { if_absent: false } }), /if_absent is false/],
    [() => set(key, '', { condition: { if_present: false } }), /if_present is false/],
    [() => set(key, '', { condition: { if_version: 0 } }), /if_version is 0/],
    [() => set(key, '', { condition: {} }), /no kind/],
    [() => remove(''), /key is empty/],
    [() => call(keyValue, 'BatchGet', { keys: Array(65_537).fill(Buffer.from('k')) }), /65537 keys/],
    [() => call(keyValue, 'BatchGet', { max_bytes: (16 << 20) + 1 }), /max_bytes is 16777217/],
    [() => call(keyValue, 'BatchWrite', { writes: Array(65_537).fill({}) }), /65537 writes/],
    [() => scan({ cursor: Buffer.from('no cursor') }), /cursor/],
    [() => scan({ prefix: Buffer.alloc(65_537) }), /prefix has 65537 bytes/],
  ]) {
    assert.match((await fails(start(), status.INVALID_ARGUMENT)).details, part);
  }
  assert.strictEqual((await get(key)).found, false);
});

test('the largest key and the largest values', async () => {
  const key = newKey().padEnd(65_536, 'k');
  const value = Buffer.alloc(16 << 20, bytes);
  const { version } = await set(key, value);
  const found = await get(key);
  assert.strictEqual(found.version, version);
  assert.ok(found.value.equals(value));
  const { entries } = await call(keyValue, 'BatchGet', { keys: [Buffer.from(key)], max_bytes: 16 << 20 });
  assert.ok(entries[0].value.equals(value));
  const scanned = (await scan({ prefix: Buffer.from(key) })).flatMap((page) => page.entries);
  assert.ok(scanned.length === 1 && scanned[0].value.equals(value));
  let error = await fails(set(key, Buffer.alloc((16 << 20) + 1)), status.INVALID_ARGUMENT);
  assert.match(error.details, /value has 16777217 bytes; the limit is 16777216/);
  error = await fails(set(key, Buffer.alloc(17 << 20)), status.RESOURCE_EXHAUSTED);
  assert.match(error.details, /the limit is 17039360/);
  assert.ok((await get(key)).value.equals(value));
  await remove(key);
});

test('admin', async () => {
  const key = newKey();
  const before = await call(admin, 'Stats', {});
  await set(key, 'v'.repeat(1000), { durability: 'MEMORY' });
  await set(key, 'w'.repeat(1000), { durability: 'MEMORY' });
  await get(key);
  await call(admin, 'Flush', {});
  const afterwards = await call(admin, 'Stats', {});
  assert.strictEqual(afterwards.memory.limit_bytes, String(256 << 20));
  assert.ok(afterwards.memory.shares.some((share) => share.name === 'index'));
  assert.strictEqual(afterwards.log.accepts_writes, true);
  assert.strictEqual(Number(afterwards.operations.sets), Number(before.operations.sets) + 2);
  assert.strictEqual(Number(afterwards.operations.gets), Number(before.operations.gets) + 1);
  assert.match(afterwards.server_version, /^\d+\.\d+\.\d+$/);
  assert.ok('duration_ms' in (await call(admin, 'Compact', {}, { deadline: inSeconds(60) })));
});

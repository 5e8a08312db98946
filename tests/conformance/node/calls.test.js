'use strict';
// What gRPC promises of a call: the four types, status, deadlines, cancellation, metadata, compression.

const assert = require('node:assert');
const { test } = require('node:test');

const { Metadata, compressionAlgorithms, status } = require('@grpc/grpc-js');

const {
  Echo, call, clientStream, collect, definition, echo, echoAddress, fails, inSeconds, keyValue, newClient, newKey,
  patienceMs, serverAddress, until, v1,
} = require('./connection.js');

const words = 'größer als 100 %: 日本語, 🚀\r\n\tend ';
const tally = async (what) => Number((await call(echo, 'Tally', {}))[what]);
const gone = (what) => until(async () => (await tally(what)) === 0);
const values = (numbers) => numbers.map((number) => Number(number.value));
const upTo = (count) => Array.from({ length: count }, (_, i) => i);

// Writes all messages, no faster than they go out.
async function writeAll(stream, messages) {
  for (const message of messages) {
    if (!stream.write(message)) await new Promise((resolve) => stream.once('drain', resolve));
  }
  stream.end();
}

test('unary', async () => {
  for (const size of [0, 1, 16_383, 16_384, 65_536, 1 << 20, 16 << 20]) {
    const body = Buffer.alloc(size, 'b');
    assert.ok((await call(echo, 'Unary', { body })).body.equals(body), String(size));
  }
});

test('client stream', async () => {
  const { stream, response } = clientStream(echo, 'Sum');
  await writeAll(stream, upTo(5000).map((value) => ({ value, padding: Buffer.alloc(value) })));
  assert.strictEqual(Number((await response).value), (4999 * 5000) / 2);
  const none = clientStream(echo, 'Sum');
  none.stream.end();
  assert.strictEqual(Number((await none.response).value), 0);
});

test('an answer that does not wait for the end of the client', async () => {
  const { stream, response } = clientStream(echo, 'Sum');
  stream.write({ value: 1 });
  stream.write({ value: -1 });
  await fails(response, status.INVALID_ARGUMENT);
});

test('server stream', async () => {
  assert.deepStrictEqual(values(await collect(echo.Count({ count: 5000, padding_bytes: 2000 }))), upTo(5000));
});

test('a server stream that fails at its end', async () => {
  const seen = [];
  const stream = echo.Count({ count: 3, failure: { code: status.DATA_LOSS, message: words } });
  stream.on('data', (number) => seen.push(number));
  const error = await new Promise((resolve) => stream.on('error', resolve));
  assert.deepStrictEqual(values(seen), [0, 1, 2]);
  assert.deepStrictEqual([error.code, error.details], [status.DATA_LOSS, words]);
});

test('dialogue', async () => {
  const stream = echo.Dialogue();
  const bodies = upTo(500).map((i) => `${i}`.repeat(100));
  const answers = [];
  stream.write({ body: Buffer.from(bodies[0]) });
  // The next question comes when the answer to the last one is there.
  for await (const answer of stream) {
    answers.push(answer.body.toString());
    if (answers.length === bodies.length) stream.end();
    else stream.write({ body: Buffer.from(bodies[answers.length]) });
  }
  assert.deepStrictEqual(answers, bodies);
});

test('a dialogue that is all questions first', async () => {
  const stream = echo.Dialogue();
  const bodies = upTo(2000).map((i) => Buffer.from(`${i}`.repeat(1000)));
  const [answers] = await Promise.all([collect(stream), writeAll(stream, bodies.map((body) => ({ body })))]);
  assert.ok(answers.length === bodies.length && answers.every((answer, i) => answer.body.equals(bodies[i])));
});

test('a dialogue that fails', async () => {
  const stream = echo.Dialogue();
  stream.write({ body: Buffer.from('a') });
  stream.write({ failure: { code: status.FAILED_PRECONDITION, message: words } });
  const error = await fails(collect(stream), status.FAILED_PRECONDITION);
  assert.strictEqual(error.details, words);
});

test('codes and messages', async () => {
  for (let code = 1; code <= 16; ++code) {
    const error = await fails(call(echo, 'Fail', { code, message: words }), code);
    assert.strictEqual(error.details, words);
  }
  await call(echo, 'Fail', { code: 0 });
});

test('a message that is too long is cut between characters', async () => {
  for (const long of ['ö'.repeat(3000), `a${'ö'.repeat(3000)}`, `a${'🚀'.repeat(3000)}`]) {
    const { details } = await fails(call(echo, 'Fail', { code: 5, message: long }), 5);
    assert.ok(long.startsWith(details) && details.length > 300, details.slice(-20));
  }
});

test('details', async () => {
  const details = [
    { type_url: 'type.example/one', value: Buffer.from('1') },
    { type_url: 'type.example/two', value: Buffer.from(upTo(256)) },
  ];
  const error = await fails(call(echo, 'Fail', { code: 5, message: words, details }), 5);
  const [sent] = error.metadata.get('grpc-status-details-bin');
  // A google.rpc.Status is told from a Failure by nothing on the wire.
  const heard = definition['thermocline.conformance.Echo'].Fail.requestDeserialize(sent);
  assert.deepStrictEqual([heard.code, heard.message], [5, words]);
  heard.details.sort((a, b) => (a.type_url < b.type_url ? -1 : 1));
  assert.deepEqual(heard.details, details);
});

test('an unknown method', async () => {
  const raw = (value) => value;
  const error = await fails(
    new Promise((resolve, reject) => {
      keyValue.makeUnaryRequest('/nothing.at.All/Get', raw, raw, Buffer.alloc(0), (failure, response) =>
        failure ? reject(failure) : resolve(response));
    }),
    status.UNIMPLEMENTED,
  );
  assert.match(error.details, /\/nothing\.at\.All\/Get/);
});

test('deadlines pass', async () => {
  for (const ms of [1, 20, 100]) {
    const deadline = inSeconds(ms / 1000);
    await fails(call(echo, 'Delay', { milliseconds: 3_600_000 }, { deadline }), status.DEADLINE_EXCEEDED);
  }
  await gone('delays');
  await fails(collect(echo.Count({}, { deadline: inSeconds(0.1) })), status.DEADLINE_EXCEEDED);
  await gone('counts');
  for (let i = 0; i < 100; ++i) {
    await fails(call(keyValue, 'Get', { key: Buffer.from('k') }, { deadline: Date.now() }), status.DEADLINE_EXCEEDED);
  }
  await call(keyValue, 'Get', { key: Buffer.from('k') }, { deadline: Date.now() + patienceMs });
});

test('the server hears of a deadline, whatever its unit', async () => {
  for (const seconds of [10, 90.5, 3600, 86_400, 2_000_000]) {
    const heard = Number((await call(echo, 'Head', {}, { deadline: inSeconds(seconds) })).timeout_ns) / 1e9;
    assert.ok(heard > seconds * 0.9 - patienceMs / 1000 && heard < seconds * 1.05, `${heard} of ${seconds}`);
  }
  assert.strictEqual((await call(echo, 'Head', {})).timeout_ns, undefined);
});

test('cancellation of a call', async () => {
  let under;
  const response = new Promise((resolve, reject) => {
    under = echo.Delay({ milliseconds: 3_600_000 }, (error, value) => (error ? reject(error) : resolve(value)));
  });
  await until(async () => (await tally('delays')) === 1);
  under.cancel();
  await fails(response, status.CANCELLED);
  await gone('delays');
});

test('cancellation of streams', async () => {
  const counting = echo.Count({ padding_bytes: 1000 });
  let seen = 0;
  const error = await fails(
    (async () => {
      for await (const _ of counting) {
        if (++seen === 100) {
          assert.strictEqual(await tally('counts'), 1);
          counting.cancel();
        }
      }
    })(),
    status.CANCELLED,
  );
  assert.ok(error && seen >= 100);
  await gone('counts');
  const { stream, response } = clientStream(echo, 'Sum');
  stream.write({ value: 1 });
  await until(async () => (await tally('sums')) === 1);
  stream.cancel();
  await fails(response, status.CANCELLED);
  await gone('sums');
});

test('cancellation of a scan', async () => {
  const prefix = Buffer.from(newKey());
  for (let i = 0; i < 32; ++i) {
    const key = Buffer.concat([prefix, Buffer.from(`${i}`)]);
    await call(keyValue, 'Set', { key, value: Buffer.alloc(1 << 20), durability: 'MEMORY' });
  }
  for (let i = 0; i < 20; ++i) {
    const scan = keyValue.Scan({ prefix });
    scan.on('data', (page) => page.entries.length > 0 && scan.cancel());
    assert.strictEqual((await new Promise((resolve) => scan.on('error', resolve))).code, status.CANCELLED);
  }
  const pages = await collect(keyValue.Scan({ prefix }));
  assert.strictEqual(pages.flatMap((page) => page.entries).length, 32);
});

// What the server hears of metadata, as [name, value] pairs.
async function heard(pairs) {
  const metadata = new Metadata();
  for (const [name, value] of pairs) metadata.add(name, value);
  const response = await call(echo, 'Head', {}, { metadata });
  return response.metadata.map((field) => [field.name, field.value.toString('latin1')]);
}

test('metadata', async () => {
  const all = Buffer.from(upTo(256));
  const fields = await heard([['name', 'value'], ['twice', 'one'], ['twice', 'two'], ['bytes-bin', all],
                              ['punctuation', 'a=b; c,d "e" %41 ~']]);
  const valuesOf = (wanted) => fields.filter(([name]) => name === wanted).map(([, value]) => value);
  assert.deepStrictEqual(valuesOf('name'), ['value']);
  assert.deepStrictEqual(valuesOf('twice').join(', ').replace(/,\s*/g, ' '), 'one two');
  assert.deepStrictEqual(valuesOf('bytes-bin'), [all.toString('latin1')]);
  assert.deepStrictEqual(valuesOf('punctuation'), ['a=b; c,d "e" %41 ~']);
});

test('metadata of 30 KiB', async () => {
  for (let i = 0; i < 3; ++i) {
    const one = [['large', 'l'.repeat(30 << 10)]];
    assert.deepStrictEqual(await heard(one), one);
    const many = upTo(110).map((n) => [`name-${n}`, 'v'.repeat(200)]);
    assert.deepStrictEqual((await heard(many)).sort(), [...many].sort());
  }
});

test('metadata of more than the server takes', async () => {
  await assert.rejects(heard([['large', 'l'.repeat(100 << 10)]]));
  await call(echo, 'Unary', {});
});

test('gzip', async () => {
  const gzip = { 'grpc.default_compression_algorithm': compressionAlgorithms.gzip };
  const client = newClient(Echo, echoAddress, gzip);
  const head = await call(client, 'Head', {});
  assert.ok(head.gzip && head.accepts_gzip);
  for (const size of [0, 5, 100_000, 16 << 20]) {
    const body = Buffer.alloc(size, 'z');
    assert.ok((await call(client, 'Unary', { body })).body.equals(body), String(size));
  }
  assert.deepStrictEqual(values(await collect(client.Count({ count: 100, padding_bytes: 5000 }))), upTo(100));
  const { stream, response } = clientStream(client, 'Sum');
  await writeAll(stream, upTo(100).map((value) => ({ value, padding: Buffer.alloc(5000) })));
  assert.strictEqual(Number((await response).value), 4950);
  assert.strictEqual((await call(echo, 'Head', {})).gzip, false);

  const compressed = newClient(v1.KeyValue, serverAddress, gzip);
  const key = Buffer.from(newKey());
  const value = Buffer.alloc(1_000_000, 'compressible ');
  await call(compressed, 'Set', { key, value });
  assert.ok((await call(compressed, 'Get', { key })).value.equals(value));
  assert.ok((await call(keyValue, 'Get', { key })).value.equals(value));
  await fails(call(compressed, 'Set', { key, value: Buffer.alloc(17 << 20) }), status.RESOURCE_EXHAUSTED);
});

test('deflate is refused', async () => {
  const client = newClient(Echo, echoAddress,
                           { 'grpc.default_compression_algorithm': compressionAlgorithms.deflate });
  const error = await fails(call(client, 'Unary', { body: Buffer.alloc(1000) }), status.UNIMPLEMENTED);
  assert.match(error.details, /deflate/);
});

test('1000 calls under way on one channel', async () => {
  const request = { room: newKey(), count: 1000 };
  await Promise.all(upTo(1000).map(() => call(echo, 'Meet', request, { deadline: Date.now() + patienceMs })));
});

test('more calls than the server allows wait', async () => {
  const prefix = newKey();
  const key = (i) => Buffer.from(`${prefix}${i}`);
  const writes = upTo(3000).map((i) =>
    call(keyValue, 'Set', { key: key(i), value: Buffer.from(`${i}`), durability: 'MEMORY' }));
  assert.ok((await Promise.all(writes)).every((written) => written.applied));
  const found = await Promise.all(upTo(3000).map((i) => call(keyValue, 'Get', { key: key(i) })));
  assert.deepStrictEqual(found.map((response) => Number(response.value.toString())), upTo(3000));
});

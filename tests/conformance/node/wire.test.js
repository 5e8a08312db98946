'use strict';
// What stock clients of gRPC never send, but others may: calls on Node's own HTTP/2.

const assert = require('node:assert');
const http2 = require('node:http2');
const net = require('node:net');
const { after, before, test } = require('node:test');
const tls = require('node:tls');

const { status } = require('@grpc/grpc-js');

const { definition, echoAddress, security, serverAddress, tlsOptions } = require('./connection.js');

const scheme = security === 'plain' ? 'http' : 'https';
const Echo = definition['thermocline.conformance.Echo'];
const sessions = {};

before(() => {
  sessions.echo = http2.connect(`${scheme}://${echoAddress}`, tlsOptions());
  sessions.server = http2.connect(`${scheme}://${serverAddress}`, tlsOptions());
});
after(() => Object.values(sessions).forEach((session) => session.close()));

function framed(message) {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

// Sends the parts, each in a frame of its own, and returns all that is answered.
function exchange(session, path, parts, headers = {}) {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...headers,
    });
    const answer = { headers: {}, trailers: {}, data: [] };
    stream.on('response', (fields) => (answer.headers = fields));
    stream.on('trailers', (fields) => (answer.trailers = fields));
    stream.on('data', (chunk) => answer.data.push(chunk));
    stream.on('error', reject);
    stream.on('close', () => {
      const { 'grpc-status': code } = { ...answer.headers, ...answer.trailers };
      resolve({ ...answer, data: Buffer.concat(answer.data), code: code === undefined ? undefined : Number(code) });
    });
    for (const part of parts) stream.write(part);
    stream.end();
  });
}

const toEcho = (method, parts, headers) => exchange(sessions.echo, Echo[method].path, parts, headers);
const one = (method, request) => [framed(Echo[method].requestSerialize(request))];

test('every unit of grpc-timeout', async () => {
  const second = 1_000_000_000n;
  for (const [text, ns] of [['2H', 7200n * second], ['3M', 180n * second], ['50S', 50n * second],
                            ['45000m', 45n * second], ['40000000u', 40n * second], ['00000090S', 90n * second]]) {
    const answer = await toEcho('Head', one('Head', {}), { 'grpc-timeout': text });
    assert.strictEqual(answer.code, status.OK, text);
    assert.strictEqual(BigInt(Echo.Head.responseDeserialize(answer.data.subarray(5)).timeout_ns), ns, text);
  }
  for (const text of ['99999999H', '99999999M', '99999999S']) {
    assert.strictEqual((await toEcho('Head', one('Head', {}), { 'grpc-timeout': text })).code, status.OK, text);
  }
  for (const text of ['1000000n', '1000u', '1m', '0S', '0n']) {
    const answer = await toEcho('Delay', one('Delay', { milliseconds: 3_600_000 }), { 'grpc-timeout': text });
    assert.strictEqual(answer.code, status.DEADLINE_EXCEEDED, text);
  }
  for (const text of ['S', '1', '123456789S', '-1S', '1s', '1.5S', '1 S', 'SS']) {
    const answer = await toEcho('Head', one('Head', {}), { 'grpc-timeout': text });
    assert.strictEqual(answer.code, status.INVALID_ARGUMENT, text);
    assert.match(answer.headers['grpc-message'], /grpc-timeout/);
  }
});

test('the shape of answers', async () => {
  const good = await toEcho('Unary', one('Unary', { body: Buffer.from('b') }));
  assert.strictEqual(good.headers[':status'], 200);
  assert.match(good.headers['content-type'], /^application\/grpc(\+proto)?$/);
  assert.deepStrictEqual(good.data, framed(Echo.Unary.responseSerialize({ body: Buffer.from('b') })));
  assert.strictEqual(good.trailers['grpc-status'], '0');
  const bad = await toEcho('Fail', one('Fail', { code: 5, message: 'ö 100 %\n' }));
  assert.strictEqual(bad.headers[':status'], 200);
  assert.strictEqual(bad.data.length, 0);
  const fields = { ...bad.headers, ...bad.trailers };
  assert.deepStrictEqual([fields['grpc-status'], fields['grpc-message']], ['5', '%C3%B6 100 %25%0A']);
});

test('messages in pieces and together', async () => {
  const body = Buffer.from('b'.repeat(300));
  const bytes = [...framed(Echo.Unary.requestSerialize({ body }))].map((byte) => Buffer.from([byte]));
  const answer = await toEcho('Unary', bytes);
  assert.strictEqual(answer.code, status.OK);
  assert.deepStrictEqual(Echo.Unary.responseDeserialize(answer.data.subarray(5)).body, body);
  const numbers = Buffer.concat([1, 2, 3].map((value) => framed(Echo.Sum.requestSerialize({ value }))));
  const sum = await toEcho('Sum', [numbers, numbers.subarray(0, 9), numbers.subarray(9)]);
  assert.strictEqual(Echo.Sum.responseDeserialize(sum.data.subarray(5)).value, '12');
});

test('requests that are broken', async () => {
  const whole = framed(Echo.Unary.requestSerialize({ body: Buffer.from('body') }));
  const compressed = Buffer.from(whole);
  compressed[0] = 1;
  for (const [what, parts, headers, code] of [
    ['cut short', [whole.subarray(0, -1)], {}, status.INTERNAL],
    ['a cut prefix', [whole.subarray(0, 3)], {}, status.INTERNAL],
    ['none', [], {}, status.INTERNAL],
    ['two', [whole, whole], {}, status.INTERNAL],
    ['compressed with nothing', [compressed], {}, status.INTERNAL],
    ['no gzip', [compressed], { 'grpc-encoding': 'gzip' }, status.INTERNAL],
    ['unknown compression', [whole], { 'grpc-encoding': 'snappy' }, status.UNIMPLEMENTED],
    ['too large', [Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 0])], {}, status.RESOURCE_EXHAUSTED],
  ]) {
    assert.strictEqual((await toEcho('Unary', parts, headers)).code, code, what);
  }
  assert.strictEqual((await toEcho('Unary', [whole])).code, status.OK);
});

test('a refusal of a compression says what is understood', async () => {
  const answer = await toEcho('Unary', one('Unary', {}), { 'grpc-encoding': 'snappy' });
  assert.match({ ...answer.headers, ...answer.trailers }['grpc-accept-encoding'] ?? '', /gzip/);
});

test('what is not gRPC', async () => {
  const path = Echo.Unary.path;
  for (const [headers, expected] of [
    [{ 'content-type': 'text/html' }, 415],
    [{ 'content-type': 'application/grpc-web' }, 415],
    [{ ':method': 'PUT' }, 405],
    [{ 'content-type': 'application/grpc+proto' }, 200],
    [{ 'content-type': 'application/grpc;charset=utf-8' }, 200],
  ]) {
    const answer = await exchange(sessions.echo, path, one('Unary', {}), headers);
    assert.strictEqual(answer.headers[':status'], expected, JSON.stringify(headers));
  }
});

// All that the server says to these bytes, until it closes the connection.
function talk(socket, bytes) {
  return new Promise((resolve) => {
    let heard = '';
    socket.on('data', (chunk) => (heard += chunk.toString('latin1')));
    socket.on('error', () => {});
    socket.on('close', () => resolve(heard));
    socket.write(bytes);
  });
}

test('HTTP/1.1 is refused in its own words', { skip: security !== 'plain' }, async () => {
  for (const address of [serverAddress, echoAddress]) {
    const [host, port] = address.split(':');
    const heard = await talk(net.connect(Number(port), host), 'GET / HTTP/1.1\r\nhost: a\r\n\r\n');
    assert.match(heard, /^HTTP\/1\.1 505 /);
  }
});

test('TLS without HTTP/2, and no TLS', { skip: security === 'plain' }, async () => {
  const [host, port] = serverAddress.split(':');
  await assert.rejects(
    new Promise((resolve, reject) => {
      const socket = tls.connect(Number(port), host, { ...tlsOptions(), ALPNProtocols: ['http/1.1'] }, resolve);
      socket.on('error', reject);
    }),
    /no application protocol|alert/i,
  );
  const heard = await talk(net.connect(Number(port), host), 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  assert.ok(!heard.includes('HTTP'));
});

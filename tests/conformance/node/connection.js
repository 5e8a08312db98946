'use strict';
// Clients of the two servers, and what tests say again and again.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { after } = require('node:test');

const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const root = path.join(__dirname, '..', '..', '..');
const definition = loader.loadSync(
  [
    'thermocline/v1/admin.proto',
    'thermocline/v1/key_value.proto',
    'grpc/health/v1/health.proto',
    'grpc/reflection/v1alpha/reflection.proto',
    'echo.proto',
  ],
  {
    includeDirs: [path.join(root, 'proto'), path.join(root, 'tests/conformance')],
    keepCase: true,
    longs: String,
    enums: String,
    defaults: true,
    oneofs: true,
  },
);
const packages = grpc.loadPackageDefinition(definition);

const security = process.env.CONFORMANCE_SECURITY;
const serverAddress = process.env.CONFORMANCE_SERVER;
const echoAddress = process.env.CONFORMANCE_ECHO;
// For what must happen, and as a rule does at once.
const patienceMs = 60_000;

const readFile = (variable) => fs.readFileSync(process.env[variable]);

// What the server wants, as node:tls takes it.
function tlsOptions() {
  if (security === 'plain') return {};
  const options = { ca: readFile('CONFORMANCE_CA') };
  if (security === 'mutual-tls') {
    options.key = readFile('CONFORMANCE_KEY');
    options.cert = readFile('CONFORMANCE_CERT');
  }
  return options;
}

function credentials(options = tlsOptions()) {
  if (security === 'plain') return grpc.credentials.createInsecure();
  return grpc.credentials.createSsl(options.ca, options.key ?? null, options.cert ?? null);
}

const clients = [];
after(() => clients.forEach((client) => client.close()));

// A client with a connection of its own, which is closed at the end.
function newClient(Service, address, options = {}, own = credentials()) {
  const client = new Service(address, own, {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.max_receive_message_length': 17 << 20,
    'grpc.max_send_message_length': -1,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 500,
    ...options,
  });
  clients.push(client);
  return client;
}

const v1 = packages.thermocline.v1;
const Echo = packages.thermocline.conformance.Echo;
const Health = packages.grpc.health.v1.Health;
const keyValue = newClient(v1.KeyValue, serverAddress);
const admin = newClient(v1.Admin, serverAddress);
const echo = newClient(Echo, echoAddress);

// The response of a unary call, or its error.
function call(client, method, request, { metadata = new grpc.Metadata(), ...options } = {}) {
  return new Promise((resolve, reject) => {
    client[method](request, metadata, options, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

// A client stream: what to write to, and its response.
function clientStream(client, method) {
  let stream;
  const response = new Promise((resolve, reject) => {
    stream = client[method]((error, value) => (error ? reject(error) : resolve(value)));
  });
  return { stream, response };
}

// All messages of a stream.
async function collect(stream) {
  const messages = [];
  for await (const message of stream) messages.push(message);
  return messages;
}

// What a call fails with, whose code must be `code`.
async function fails(promise, code) {
  let failure;
  await promise.then(
    () => assert.fail('it does not fail'),
    (error) => (failure = error),
  );
  assert.strictEqual(failure.code, code, String(failure));
  return failure;
}

const inSeconds = (seconds) => new Date(Date.now() + seconds * 1000);

// Waits until holds() resolves to true.
async function until(holds) {
  const end = Date.now() + patienceMs;
  while (!(await holds())) {
    assert.ok(Date.now() < end, 'it does not happen');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

let keys = 0;
// A key that no other test of this run uses, and no prefix of one that does.
const newKey = () => `node/${process.pid}/${keys++}/`;

// Has the server stopped and started again; resolves when it serves.
async function restartServer() {
  fs.writeSync(3, '\n');
  const byte = Buffer.alloc(1);
  const { bytesRead } = await new Promise((resolve, reject) => {
    fs.read(4, byte, 0, 1, null, (error, count) => (error ? reject(error) : resolve({ bytesRead: count })));
  });
  assert.ok(bytesRead === 1 && byte.toString() === '\n', 'the server does not start again');
}

module.exports = {
  Echo, Health, admin, call, clientStream, collect, credentials, definition, echo, echoAddress, fails, inSeconds,
  keyValue, newClient, newKey, packages, patienceMs, readFile, restartServer, security, serverAddress, tlsOptions,
  until, v1,
};

'use strict';
// Health, reflection, restarts, and who may connect.

const assert = require('node:assert');
const { test } = require('node:test');

const { status } = require('@grpc/grpc-js');

const {
  Health, call, collect, credentials, echoAddress, fails, inSeconds, keyValue, newClient, newKey, packages, readFile,
  restartServer, security, serverAddress, tlsOptions,
} = require('./connection.js');

const services = ['thermocline.v1.KeyValue', 'thermocline.v1.Segments', 'thermocline.v1.Admin',
                  'grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection', 'grpc.reflection.v1alpha.ServerReflection'];
const health = newClient(Health, serverAddress);

// The first state that Watch tells, and the call.
async function watch(service) {
  const states = health.Watch({ service });
  const ended = new Promise((resolve) => states.on('error', resolve));
  const first = await new Promise((resolve) => states.once('data', resolve));
  return { states, ended, status: first.status };
}

test('health', async () => {
  for (const service of ['', ...services]) {
    assert.strictEqual((await call(health, 'Check', { service })).status, 'SERVING');
  }
  const error = await fails(call(health, 'Check', { service: 'größer' }), status.NOT_FOUND);
  assert.strictEqual(error.details, 'there is no service größer');
  for (const [service, state] of [['', 'SERVING'], ['thermocline.v1.KeyValue', 'SERVING'], ['no', 'SERVICE_UNKNOWN']]) {
    const { states, ended, status: first } = await watch(service);
    assert.strictEqual(first, state);
    states.cancel();
    assert.strictEqual((await ended).code, status.CANCELLED);
  }
});

test('reflection', async () => {
  const reflection = newClient(packages.grpc.reflection.v1alpha.ServerReflection, serverAddress);
  const stream = reflection.ServerReflectionInfo();
  stream.write({ list_services: '' });
  stream.write({ file_containing_symbol: 'thermocline.v1.KeyValue' });
  stream.write({ file_containing_symbol: 'no.Such' });
  stream.end();
  const [listed, file, unknown] = await collect(stream);
  assert.deepStrictEqual(listed.list_services_response.service.map((service) => service.name).sort(),
                         [...services].sort());
  assert.ok(file.file_descriptor_response.file_descriptor_proto[0].includes('thermocline/v1/key_value.proto'));
  assert.strictEqual(unknown.error_response.error_code, status.NOT_FOUND);
});

test('a channel connects again after a restart', async () => {
  const key = Buffer.from(newKey());
  for (let i = 0; i < 2; ++i) {
    const { version } = await call(keyValue, 'Set', { key, value: Buffer.from(`${i}`) });
    const { ended } = await watch('');
    await restartServer();
    assert.strictEqual((await ended).code, status.UNAVAILABLE);
    await new Promise((resolve, reject) => {
      keyValue.waitForReady(inSeconds(60), (error) => (error ? reject(error) : resolve()));
    });
    await new Promise((resolve, reject) => {
      health.waitForReady(inSeconds(60), (error) => (error ? reject(error) : resolve()));
    });
    const found = await call(keyValue, 'Get', { key });
    assert.deepStrictEqual([found.value.toString(), found.version], [`${i}`, version]);
  }
});

async function refused(options) {
  for (const address of [serverAddress, echoAddress]) {
    const client = newClient(Health, address, {}, credentials(options));
    await fails(call(client, 'Check', {}, { deadline: inSeconds(60) }), status.UNAVAILABLE);
    client.close();
  }
}

test('a server that somebody else vouches for', { skip: security === 'plain' }, async () => {
  await refused({ ...tlsOptions(), ca: readFile('CONFORMANCE_OTHER_CA') });
});

test('clients that are not known', { skip: security !== 'mutual-tls' }, async () => {
  const ca = readFile('CONFORMANCE_CA');
  await refused({ ca });
  await refused({ ca, key: readFile('CONFORMANCE_STRANGER_KEY'), cert: readFile('CONFORMANCE_STRANGER_CERT') });
});

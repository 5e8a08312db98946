'use strict';
// Runs every *.test.js beside it, against the servers that run_client has started. Packages are looked for as Node
// does, and in NODE_PATH. Exits with 77, for a test that was skipped, if they are missing.

const fs = require('node:fs');
const path = require('node:path');

for (const name of ['@grpc/grpc-js', '@grpc/proto-loader']) {
  try {
    require(name);
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error;
    console.error(`SKIPPED: there is no package ${name} (./dev test installs it with npm, if it can)`);
    process.exit(77);
  }
}
for (const file of fs.readdirSync(__dirname).sort()) {
  if (file.endsWith('.test.js')) require(path.join(__dirname, file));
}

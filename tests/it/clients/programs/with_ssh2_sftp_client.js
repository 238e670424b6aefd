// What a provider's script with ssh2-sftp-client does: node with_ssh2_sftp_client.js PORT KEY FINGERPRINT OPERATION WORDS...
//
// A failure is shown as such a script's log would: the error's text, exit status 1.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const Client = require('ssh2-sftp-client');

const operations = {
  'put': (sftp, local, remote) => sftp.fastPut(local, remote),
  'put-many': async (sftp, directory, ...files) => {
    for (const file of files) await sftp.put(file, `${directory}/${path.basename(file)}`);
  },
  'resume': async (sftp, local, remote) => {
    const { size } = await sftp.stat(remote);
    await sftp.append(fs.createReadStream(local, { start: size }), remote);
  },
  'put-and-rename': async (sftp, local, working, remote) => {
    await sftp.put(local, working);
    await sftp.posixRename(working, remote);
  },
  'put-with-times': async (sftp, local, remote) => {
    await sftp.put(local, remote);
    const { atime, mtime } = fs.statSync(local);
    await new Promise((done, failed) =>
      sftp.sftp.utimes(remote, atime, mtime, (error) => (error ? failed(error) : done())));
    await sftp.chmod(remote, 0o640);
  },
  'list': async (sftp, directory) => {
    for (const entry of await sftp.list(directory)) console.log(entry.size, entry.name);
  },
  'get': (sftp, remote, local) => sftp.get(remote, local),
};

async function main() {
  const [port, key, fingerprint, operation, ...words] = process.argv.slice(2);
  const sftp = new Client();
  const fits = (hostKey) =>
    'SHA256:' + crypto.createHash('sha256').update(hostKey).digest('base64').replace(/=+$/, '') === fingerprint;
  await sftp.connect({
    host: '127.0.0.1', port: Number(port), username: 'harbour-nightly', privateKey: fs.readFileSync(key),
    hostVerifier: fits, retries: 0,
  });
  try {
    await operations[operation](sftp, ...words);
  } finally {
    await sftp.end();
  }
}

if (process.argv[2] === '--version') {
  console.log(require('ssh2-sftp-client/package.json').version);
} else {
  main().catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
}

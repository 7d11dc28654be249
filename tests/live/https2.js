// HTTP/2 inside TLS at both ends, which node encrypts in memory: node https2.js CERTIFICATE CONNECTIONS REQUESTS
// The server answers as one of gRPC does: /shop.Cart/Fail5 with status 200 and, in trailers, with grpc-status 5.
const fs = require('fs');
const http2 = require('http2');
const [file, connections, requests] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const pem = fs.readFileSync(file);
const server = http2.createSecureServer({key: pem, cert: pem});
server.on('stream', (stream, headers) => {
  const failed = /Fail(\d+)$/.exec(headers[':path']);
  stream.respond({':status': 200, 'content-type': 'application/grpc'}, {waitForTrailers: true});
  stream.on('wantTrailers', () => stream.sendTrailers({'grpc-status': failed ? failed[1] : '0'}));
  stream.resume();
  stream.end(Buffer.alloc(5000, 'must-not-keep'));
});
server.listen(0, '127.0.0.1', () => {
  let open = connections;
  for (let each = 0; each < connections; each++) {
    const session = http2.connect(`https://127.0.0.1:${server.address().port}`, {rejectUnauthorized: false});
    let number = 0;
    const ask = () => {
      const path = number % 2 ? '/shop.Cart/Fail5' : `/shop.Cart/Add${number}`;
      const stream = session.request({':method': 'POST', ':path': path, 'content-type': 'application/grpc'});
      stream.resume();
      stream.on('close', () => {
        if (++number < requests) return ask();
        session.close();
        if (--open === 0) server.close(() => console.log(JSON.stringify('done')));
      });
      stream.end(Buffer.alloc(30000, 'must-not-keep'));
    };
    ask();
  }
});

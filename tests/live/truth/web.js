// node at either end: `node web.js FUNCTION ARGUMENTS`, as the functions of web.py are run. Lines of JSON to the test.

const dns = require("dns");
const fs = require("fs");
const http = require("http");
const http2 = require("http2");
const https = require("https");

const LOOKALIKE = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nGET /not-a-request HTTP/1.1\r\nHost: no.test\r\n\r\n";
const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");
const statusOf = (path) => Number(path.split("/")[1]);
const pathOf = (url) => url.split("?")[0];

// Answers of TLS are so long that who reads the head has not read all yet: some ask about the connection then.
const answering = (lookalikes) => (request, response) => {
  request.resume().on("end", () => {
    const path = pathOf(request.url);
    response.writeHead(statusOf(path));
    response.end(request.method === "HEAD" ? undefined : LOOKALIKE.repeat(lookalikes));
    say([request.method, path, statusOf(path)]);
  });
};

function server({ address, port, http2: second, certificate }) {
  const pem = certificate && fs.readFileSync(certificate);
  const made = second
    ? http2.createServer(answering(50))
    : pem
      ? https.createServer({ key: pem, cert: pem, maxVersion: "TLSv1.2" }, answering(10_000))
      : http.createServer(answering(50));
  made.listen(port, address, () => say("listening"));
}

function agreed(tls) {
  return {
    version: tls.getProtocol(),
    alpn: tls.alpnProtocol || null,
    cipher: tls.getCipher().standardName,
    resumed: tls.isSessionReused(),
  };
}

// Each after the one before; says for each its method, path, status and the ms to the head of its answer.
async function client({ address, port, asked }) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  for (const [method, path] of asked) {
    await new Promise((done) => {
      const began = performance.now();
      const request = http.request({ agent, host: address, port, path, method }, (response) => {
        say([method, pathOf(path), response.statusCode, performance.now() - began]);
        response.resume().on("end", done);
      });
      request.end(method === "POST" ? LOOKALIKE.repeat(30) : undefined);
    });
  }
  agent.destroy();
}

// All at once on one connection.
function http2Client({ address, port, asked }) {
  const session = http2.connect(`http://${address}:${port}`);
  let left = asked.length;
  for (const [method, path] of asked) {
    const began = performance.now();
    const stream = session.request({ ":method": method, ":path": path }, { endStream: method !== "POST" });
    stream.on("response", (head) => say([method, pathOf(path), head[":status"], performance.now() - began]));
    stream.resume().on("end", () => --left || session.close());
    if (method === "POST") {
      stream.end(LOOKALIKE.repeat(30));
    }
  }
}

// So many connections, each of which resumes the session before where it can; says what was agreed on.
async function tlsClient({ address, port, name, connections }) {
  const agent = new https.Agent({ keepAlive: false });
  const options = { agent, host: address, port, servername: name, rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] };
  for (let number = 0; number < connections; number++) {
    await new Promise((done) => {
      https.get({ ...options, path: `/200/${number}` }, (response) => {
        say(agreed(response.socket));
        response.resume().on("end", done);
      });
    });
  }
}

// Each name by getaddrinfo, in a thread of libuv's, and by c-ares, which is node's own.
async function lookUp({ names }) {
  const found = names.map((name) => [dns.promises.lookup(name, { all: true }), dns.promises.resolve4(name)]);
  await Promise.all(found.flat());
}

({ server, client, http2Client, tlsClient, lookUp })[process.argv[2]](JSON.parse(process.argv[3]));

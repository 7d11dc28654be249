// HTTPS at both ends until it hears something: node watched.js CERTIFICATE REQUESTS_EACH PAUSE_MS
// Says "running" once it has been answered, and in the end how often it was answered and how often not.
const fs = require('fs');
const https = require('https');
const [file, each, pause] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const pem = fs.readFileSync(file);
const say = (message) => console.log(JSON.stringify(message));
let [answered, failed, stopped] = [0, 0, false];
const server = https.createServer({key: pem, cert: pem}, (request, response) => response.end('ok\n'));
const newAgent = () => new https.Agent({keepAlive: true, maxSockets: 1, rejectUnauthorized: false});
let agent = newAgent();
const next = () => {
  if (answered + failed === 1) say('running');
  if (stopped) {
    say([answered, failed]);
    process.exit(0);
  }
  if ((answered + failed) % each === 0) {
    agent.destroy();
    agent = newAgent();
  }
  setTimeout(ask, pause);
};
const ask = () => {
  const path = `/node/${answered}`;
  const request = https.get({agent, host: '127.0.0.1', port: server.address().port, path}, (response) => {
    let said = '';
    response.on('data', (chunk) => { said += chunk; });
    response.on('end', () => {
      if (response.statusCode === 200 && said === 'ok\n') answered++;
      else failed++;
      next();
    });
  });
  request.on('error', () => {
    failed++;
    next();
  });
};
process.stdin.once('data', () => { stopped = true; });
server.listen(0, '127.0.0.1', ask);

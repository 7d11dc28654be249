// So many connections at a time, each with so many requests: node https_client.js ADDRESS PORT CONNECTIONS REQUESTS
const https = require('https');
const [address, port, connections, requests] = [process.argv[2], ...process.argv.slice(3).map(Number)];
let open = connections;
for (let each = 0; each < connections; each++) {
  const agent = new https.Agent({keepAlive: true, maxSockets: 1, rejectUnauthorized: false});
  let number = 0;
  const ask = () => https.get({agent, host: address, port, path: `/node/${number}`}, (response) => {
    response.resume();
    response.on('end', () => {
      if (++number < requests) return ask();
      agent.destroy();
      if (--open === 0) console.log(JSON.stringify('done'));
    });
  });
  ask();
}

// Requests on one connection: `keepalive.js HOST:PORT SECONDS`. Ends with 0 when each was answered, and on that connection.
const http = require("http");
const [address, seconds] = process.argv.slice(2);
const [host, port] = address.split(/:(?=\d+$)/);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const ends = Date.now() + seconds * 1000;
let requests = 0;
let connections = 0;

function fail(why) {
  console.log(`request ${requests}: ${why}`);
  process.exit(1);
}

function next() {
  if (Date.now() > ends) {
    console.log(`${requests} requests on ${connections} connections`);
    process.exit(connections === 1 ? 0 : 1);
  }
  const body = `request ${requests++}`;
  const request = http.request({ host, port, agent, method: "POST", timeout: 20000 }, (response) => {
    let got = "";
    response.on("data", (data) => (got += data));
    response.on("error", fail);
    response.on("end", () => {
      if (response.statusCode !== 200 || got !== body) fail(`${response.statusCode} ${got}`);
      setTimeout(next, 700);
    });
  });
  request.on("socket", (socket) => {
    if (!socket.seen) connections++;
    socket.seen = true;
  });
  request.on("timeout", () => fail("no answer"));
  request.on("error", fail);
  request.end(body);
}

next();

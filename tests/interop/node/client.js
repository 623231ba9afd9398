// A P-GW on the npm package `diameter`: CER, a session, a RAR, DPR. Prints one JSON line an exchange; ends with status 0.
'use strict';
const diameter = require('diameter');

const [host, port, msisdn] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const PGW = 'pgw.a1.example.net', REALM = 'a1.example.net', SESSION = `${PGW};1;${msisdn}`;
const APPLICATION = 'Diameter Credit Control';
const say = (what, body) => console.log(JSON.stringify({ what, body }));
const fail = (error) => { console.error(error && error.stack || error); process.exit(1); };

const socket = diameter.createConnection({ host, port }, () => run().then(() => process.exit(0), fail));
socket.on('error', fail);
socket.on('diameterMessage', (event) => {
  if (!event.message.header.flags.request) return;
  if (event.message.command === 'Re-Auth') {
    say('Re-Auth', event.message.body);
    event.response.body = [
      ['Session-Id', SESSION], ['Result-Code', 2002], ['Origin-Host', PGW], ['Origin-Realm', REALM],
    ];
    event.callback(event.response);
    reauthorized();
  } else {
    event.response.body = [['Result-Code', 2001], ['Origin-Host', PGW], ['Origin-Realm', REALM]];
    event.callback(event.response);
  }
});
let reauthorized;
const rar = new Promise((resolve) => { reauthorized = resolve; });

async function send(application, command, body) {
  const request = socket.diameterConnection.createRequest(application, command);
  request.body = body;
  const answer = await socket.diameterConnection.sendRequest(request);
  say(command, answer.body);
  return answer;
}

function ccr(type, number, used, want) {
  const service = [['Rating-Group', 1]];
  if (want) service.push(['Requested-Service-Unit', [['CC-Total-Octets', want]]]);
  if (used) service.push(['Used-Service-Unit', [['CC-Total-Octets', used]]]);
  const request = socket.diameterConnection.createRequest('Diameter Credit Control Application', 'Credit-Control');
  request.body = [
    ['Session-Id', SESSION], ['Origin-Host', PGW], ['Origin-Realm', REALM], ['Destination-Realm', 'hot.example.net'],
    ['Auth-Application-Id', APPLICATION], ['Service-Context-Id', '32251@3gpp.org'],
    ['CC-Request-Type', type], ['CC-Request-Number', number],
    ['Subscription-Id', [['Subscription-Id-Type', 'END_USER_E164'], ['Subscription-Id-Data', msisdn]]],
    ['Multiple-Services-Indicator', 1],
    ['Multiple-Services-Credit-Control', service],
  ];
  return socket.diameterConnection.sendRequest(request).then((answer) => say('Credit-Control', answer.body));
}

async function run() {
  await send('Diameter Common Messages', 'Capabilities-Exchange', [
    ['Origin-Host', PGW], ['Origin-Realm', REALM], ['Host-IP-Address', '127.0.0.1'], ['Vendor-Id', 10415],
    ['Product-Name', 'node-diameter'], ['Auth-Application-Id', APPLICATION],
  ]);
  await ccr('INITIAL_REQUEST', 0, 0, 1048576);
  await ccr('UPDATE_REQUEST', 1, 1048576, 1048576);
  await rar;
  await ccr('TERMINATION_REQUEST', 2, 1048576, 0);
}

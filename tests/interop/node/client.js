// A P-GW on the npm package `diameter`: CER, a session with a RAR, refusals of a request and of a service, last units, DPR.
// Prints one JSON line an exchange; ends with status 0.
'use strict';
const diameter = require('diameter');

// Its dictionary has no type for Failed-AVP, and could not read any.
require('diameter/lib/diameter-dictionary').getAvpByCodeAndVendorId(279, 0).type = 'Grouped';

const [host, port, msisdn, poor] = [process.argv[2], Number(process.argv[3]), process.argv[4], process.argv[5]];
const PGW = 'pgw.a1.example.net', REALM = 'a1.example.net', SESSION = `${PGW};1;${msisdn}`;
const APPLICATION = 'Diameter Credit Control', MB = 1048576;
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
  return (await socket.diameterConnection.sendRequest(request)).body;
}

function octets(group, used, want) {
  const service = [['Rating-Group', group]];
  if (want) service.push(['Requested-Service-Unit', [['CC-Total-Octets', want]]]);
  if (used) service.push(['Used-Service-Unit', [['CC-Total-Octets', used]]]);
  return ['Multiple-Services-Credit-Control', service];
}

async function ccr(what, type, number, services, session = SESSION, who = msisdn, realm = 'hot.example.net') {
  say(what, await send('Diameter Credit Control Application', 'Credit-Control', [
    ['Session-Id', session], ['Origin-Host', PGW], ['Origin-Realm', REALM], ['Destination-Realm', realm],
    ['Auth-Application-Id', APPLICATION], ['Service-Context-Id', '32251@3gpp.org'],
    ['CC-Request-Type', type], ['CC-Request-Number', number],
    ['Subscription-Id', [['Subscription-Id-Type', 'END_USER_E164'], ['Subscription-Id-Data', who]]],
    ['Multiple-Services-Indicator', 1],
    ...services,
  ]));
}

async function run() {
  say('CEA', await send('Diameter Common Messages', 'Capabilities-Exchange', [
    ['Origin-Host', PGW], ['Origin-Realm', REALM], ['Host-IP-Address', '127.0.0.1'], ['Vendor-Id', 10415],
    ['Product-Name', 'node-diameter'], ['Auth-Application-Id', APPLICATION],
  ]));
  await ccr('I', 'INITIAL_REQUEST', 0, [octets(1, 0, MB)]);
  await ccr('U', 'UPDATE_REQUEST', 1, [octets(1, MB, MB)]);
  await rar;
  await ccr('U, a service refused', 'UPDATE_REQUEST', 2, [octets(1, 0, MB), octets(777, 0, MB)]);
  await ccr('T', 'TERMINATION_REQUEST', 3, [octets(1, MB, 0)]);
  const last = `${PGW};2;${poor}`;
  await ccr('unknown subscriber', 'INITIAL_REQUEST', 0, [octets(1, 0, MB)], `${PGW};3;nobody`, '38699999999');
  await ccr('unknown realm', 'INITIAL_REQUEST', 0, [octets(1, 0, MB)], `${PGW};4;nowhere`, msisdn, 'elsewhere.example.net');
  await ccr('last units', 'INITIAL_REQUEST', 0, [octets(1, 0, 10 * MB)], last, poor);
  await ccr('all used', 'UPDATE_REQUEST', 1, [octets(1, MB, MB)], last, poor);
  await ccr('T of the last units', 'TERMINATION_REQUEST', 2, [octets(1, 0, 0)], last, poor);
  await ccr('no credit', 'INITIAL_REQUEST', 0, [octets(1, 0, MB)], `${PGW};5;${poor}`, poor);
  say('DPA', await send('Diameter Common Messages', 'Disconnect-Peer', [
    ['Origin-Host', PGW], ['Origin-Realm', REALM], ['Disconnect-Cause', 'REBOOTING'],
  ]));
}

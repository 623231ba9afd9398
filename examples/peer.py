"""A P-GW in thirty lines, on python-diameter: one data session at a running server with the shipped settings.

ocs serve
ocs account create --msisdn 38668100000 --imsi 293400000000000 --credit 10
python examples/peer.py 127.0.0.1:3868 38668100000
"""

import sys
import time

from diameter.message.avp.grouped import MultipleServicesCreditControl as Service
from diameter.message.avp.grouped import RequestedServiceUnit, SubscriptionId, UsedServiceUnit
from diameter.message.commands import CreditControlRequest
from diameter.node import Node
from diameter.node.application import ApplicationError, SimpleThreadingApplication

(address, port), msisdn = sys.argv[1].split(":"), sys.argv[2]
node = Node("pgw.sim.example.net", "sim.example.net", vendor_ids=[10415])
peer = node.add_peer(f"aaa://ocs.example.net:{port}", "example.net", ip_addresses=[address], is_persistent=True)
gy = SimpleThreadingApplication(4, is_auth_application=True)
node.add_application(gy, [peer], ["example.net"])
node.start()
try:
    gy.wait_for_ready(10)
except ApplicationError as error:
    node.stop(1)
    sys.exit(f"{sys.argv[1]}: {error}")
session_id = f"{node.origin_host};{int(time.time())};1"
for number, (kind, used) in enumerate(((1, 0), (2, 1_000_000), (3, 500_000))):  # initial, update, termination
    request = CreditControlRequest()
    request.session_id = session_id
    request.origin_host, request.origin_realm = node.origin_host.encode(), node.realm_name.encode()
    request.destination_realm, request.auth_application_id = b"example.net", gy.application_id
    request.service_context_id = "32251@3gpp.org"
    request.cc_request_type, request.cc_request_number = kind, number
    request.subscription_id = [SubscriptionId(0, msisdn)]
    service = Service(rating_group=1, used_service_unit=[UsedServiceUnit(cc_total_octets=used)])
    service.requested_service_unit = RequestedServiceUnit() if kind < 3 else None
    request.multiple_services_credit_control = [service]
    answer = gy.send_request(request, 10)
    granted = answer.multiple_services_credit_control[0].granted_service_unit
    print(answer.result_code, granted.cc_total_octets if granted else "nothing")
node.stop(5)

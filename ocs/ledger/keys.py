"""Names of the ledger's keys: nothing else in the project knows one.

Every account belongs to one of P partitions; all keys that one script touches carry the partition's hash tag, so they live on one
Redis Cluster node. The tags are chosen so that partition n's slot lies in the n-th of P equal ranges of the 16,384 slots.

    {tag}:a:<account id>   string   account, one msgpack document (fields: scripts/document.lua)
    {tag}:q:<name>         hash     outcomes of a session's requests, "a" = account id, "refused" = its opening was refused
    {tag}:e:<name>         hash     outcomes of one-off requests (E<n> debit, C<n> balance check, R<n> refund), "p<n>" = what is left
                                    of a debit to give back. These two are the only keys with a TTL: no money in them.
                                    <name> is the Session-Id, after its owner if it does not say that itself (`session_name`)
    {tag}:subscribers      hash     m<msisdn> / i<imsi> → account id
    {tag}:references       hash     applied top-up and package references; claims of references
    {tag}:outbox           stream   journal, ids "<sequence>-0"
    {tag}:sequence         string   last sequence number of the outbox
    {tag}:due              zset     account id → Unix time of its next look
    {tag}:c:<Origin-Host>  set      "<account id> <Session-Id>" of the client's open sessions; some may have ended
    {tag}:dirty            set      of partition 0 only: partitions in whose outbox there may be something
    {tag}:origin_states    hash     of partition 0 only: "<relay or nothing> <Origin-Host>" → "Origin-State-Id, Unix time when it rose"
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from redis.crc import key_slot

SLOTS = 16_384
MAX_PARTITIONS = 100
_TAG_TRIES = 100_000


def _tag(partition: int, partitions: int) -> str:
    first, last = partition * SLOTS // partitions, (partition + 1) * SLOTS // partitions
    for salt in range(_TAG_TRIES):
        tag = f"p{partition:02d}" if salt == 0 else f"p{partition:02d}.{salt}"
        if first <= key_slot(tag.encode()) < last:
            return tag
    raise AssertionError("no tag for a slot range: the ranges cover every slot")


@dataclass(frozen=True, slots=True)
class PartitionKeys:
    """The keys of one partition; `account`, `answers`, `events` and `clients` are prefixes."""

    slot: int
    account: bytes
    answers: bytes
    events: bytes
    subscribers: bytes
    references: bytes
    outbox: bytes
    sequence: bytes
    due: bytes
    clients: bytes


class Keys:
    """Key names for an installation with so many partitions."""

    def __init__(self, partitions: int) -> None:
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise ValueError(f"partitions = {partitions}: 1 to {MAX_PARTITIONS} are allowed")
        self.partitions = partitions
        self.by_partition = tuple(self._partition_keys(n) for n in range(partitions))
        self.dirty = f"{{{_tag(0, partitions)}}}:dirty".encode()
        self.origin_states = f"{{{_tag(0, partitions)}}}:origin_states".encode()

    def _partition_keys(self, partition: int) -> PartitionKeys:
        tag = _tag(partition, self.partitions)
        head = f"{{{tag}}}:".encode()
        return PartitionKeys(
            slot=key_slot(tag.encode()),
            account=head + b"a:",
            answers=head + b"q:",
            events=head + b"e:",
            subscribers=head + b"subscribers",
            references=head + b"references",
            outbox=head + b"outbox",
            sequence=head + b"sequence",
            due=head + b"due",
            clients=head + b"c:",
        )

    def partition_of_name(self, name: str) -> int:
        """Partition of a subscriber id or a reference: by its checksum, so that anybody can find it."""
        return zlib.crc32(name.encode()) % self.partitions

    def partition_of_account(self, account_id: str) -> int:
        """The account id says it: "17-4f2a9c…" lives in partition 17. ValueError if it is no account id."""
        partition = int(account_id[:2])
        if not 0 <= partition < self.partitions:
            raise ValueError(f"account id {account_id!r} names partition {partition} of {self.partitions}")
        return partition

    def new_account_id(self, msisdn: str, entropy: int) -> str:
        """An id that says nothing of its holder, in the MSISDN's partition; `entropy` is a random 64-bit number."""
        return f"{self.partition_of_name('m' + msisdn):02d}-{entropy:016x}"

    def account_pattern(self) -> bytes:
        """SCAN pattern of all accounts."""
        return b"{p*}:a:*"


def session_name(session_id: str, owner: str) -> bytes:
    """What `owner` (an Origin-Host in small letters, or a failover group) calls `session_id`: nobody else is answered under this name."""
    own = session_id[: len(owner) + 1].lower() == owner + ";"  # RFC 6733 §8.8
    return (session_id if own else f"{owner} {session_id}").encode()


def account_id_of_key(key: bytes) -> str:
    return key.rsplit(b":", 1)[1].decode()

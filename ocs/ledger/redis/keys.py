"""Names of the ledger's keys. No other module has one.

Every account belongs to one of P partitions. All keys that one script touches have the partition's hash tag, so they
are on one node of a Redis Cluster. The slot of partition n's tag lies in the n-th of P equal ranges of the 16,384
slots.

    {tag}:a:<account id>   string   account, one msgpack document (layout.py)
    {tag}:p:<pool id>      string   pool, one msgpack document
    {tag}:q:<name>         hash     answers to a session's requests, by type and number
    {tag}:e:<name>         hash     answers to one-off requests: E<n> debit, C<n> balance check, R<n> refund;
                                    p<n> = what is left of a debit for refunds
    {tag}:h:<session name> string   hint: account id of a session, as of the last time its answers were prolonged
    {tag}:c:<client>       set      "<account id> <Session-Id>": open sessions of an Origin-Host that sends
                                    Origin-State-Id
    {tag}:subscribers      hash     m<msisdn> / i<imsi> → account id ("?<account id> <Unix time>": it is being opened);
                                    x<account id> → account id, of terminated accounts
    {tag}:r:<yyyymm>       hash     top-up and purchase references applied in the month; claims of references
    {tag}:t:<reference>    set      top-ups in progress under this reference; when the last one is refused, it is free
    {tag}:outbox           stream   journal, ids "<sequence>-0"
    {tag}:sequence         string   last sequence number of the outbox
    {tag}:confirmed        string   sequence number of an event that replicas have, with all before (outbox.py)
    {tag}:due              zset     account id → Unix time at which its agenda has something due
    {tag}:o:<account id>   hash     what is observed of an account that was abroad (observations.py)
    {tag}:s:<name>         hash     which accounts used an equipment abroad: uid → last day; and "a" + account id:
                                    equipment → last day (observations.py)
    {tag}:f:<state>        set      accounts in a state of the fair-use observation
    {tag}:abroad           zset     account id → day on which its observation is evaluated next
    {tag}:observed         string   sequence number of the last event that the observations have counted
    {tag}:l:<lease>        string   holder of the lease (leases.py): "node <identity>", "housekeeper", "told …" of a RAR
                                    or ASR
    {tag}:topups           zset     account id → Unix time from which its automatic top-up may be ordered
    {tag}:y:<uid>          hash     payment orders of an account, by order id: msgpack (layout.py)
    {tag}:orders           zset     order id → Unix time at which something is to be done for it
    {tag}:m:<message>      set      payment orders of a SEPA message (pain.008), in the partition of the message's name
    {tag}:d:<payer>        string   mandate of a payer (contract/payments.py), in the partition of the payer's name
    {tag}:k:<digest>       string   answer to a request of the API with an Idempotency-Key, by the SHA-256 of that key
                                    (api.py)
    {tag}:terms            hash     product id → its terms by the Unix time from which they are in force
    {tag}:v:<voucher id>   hash     voucher (vouchers.py)
    {tag}:b:<batch>        hash     serial number → voucher id, of the batch's vouchers in this partition
    {tag}:voucher_counts   hash     "<batch> <state>" → vouchers
    {tag}:voucher_claims   zset     voucher id → Unix time of its claim, as long as that is not settled
    {tag}:g:<group>        hash     business group (groups.py): name, administrator, payer, …; m:<uid> → account id of a
                                    number of it
    {tag}:w:<group>        hash     steps of the group that are not finished
    {tag}:groups           set      business groups of the partition
    {tag}:group_work       zset     business group → Unix time since when a step of it is not finished
    {tag}:transit          zset     account id → Unix time of its oldest transfer that is not finished

In partition 0 only:

    {tag}:dirty            set      partitions whose outbox may have events
    {tag}:origin_states    hash     "<relay or nothing> <Origin-Host>" → "<Origin-State-Id> <Unix time when it rose>"
    {tag}:ledger           hash     layout and number of partitions of the ledger
    {tag}:catalogue        hash     v:<version> → its text, b:<version> → Unix time at which it begins, revision
    {tag}:catalogue_offer  hash     the version that is being loaded: id, body
    {tag}:catalogue_answers hash    reader → offer's id and what the reader says of it
    {tag}:catalogue_readers zset    reader → Unix time at which it looked last
    {tag}:catalogue_files  string   what the catalogue's file was when a process last started (JSON)
    {tag}:equipment_key    string   key of the pseudonyms of equipment, made once
    {tag}:voucher_key      string   key of the voucher ids, made once; "file:" and its check, if it is the operator's
    {tag}:voucher_batches  hash     batch → what it is and what was done to it (msgpack)
    {tag}:api_keys         hash     id of a key of the API → the key without its secret (JSON)
    {tag}:api_keys_used    hash     id of a key of the API → last day on which it was used
    {tag}:traced           hash     id of a trace → its end (Unix time), a blank, whom it traces (JSON); traces.py
    {tag}:nodes            hash     identity → facts that the node published at its start (JSON)

<name> is the account id, a blank and the session name; <session name>: see `session_name`. Answers, hints, references,
top-ups in progress and leases have a TTL. Keys that hold money have none.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

from redis.crc import key_slot

from ocs.values.identities import by_msisdn
from ocs.values.identities import uid_of as uid_of

SLOTS = 16_384
MAX_PARTITIONS = SLOTS
REFERENCE_MONTHS = 13
"""Months whose references are remembered: this one and the twelve before."""
_TAG_TRIES = 2_000_000
NO_POOL = "-"


@lru_cache(maxsize=8)
def _tags(partitions: int) -> tuple[str, ...]:
    """A hash tag for each partition: the first of p0, p1, p2 … whose slot lies in its range."""
    tags: dict[int, str] = {}
    for n in range(_TAG_TRIES):
        tag = f"p{n:x}"
        tags.setdefault(_partition_of_slot(key_slot(tag.encode()), partitions), tag)
        if len(tags) == partitions:
            return tuple(tags[partition] for partition in range(partitions))
    raise AssertionError("no tag for a slot range: the ranges cover every slot")


def _partition_of_slot(slot: int, partitions: int) -> int:
    """The partition whose range [n · 16,384 / P, (n + 1) · 16,384 / P) has the slot."""
    partition = slot * partitions // SLOTS
    while (partition + 1) * SLOTS // partitions <= slot:
        partition += 1
    return partition


@dataclass(frozen=True, slots=True)
class PartitionKeys:
    """The keys of one partition; `account`, `pool`, `answers`, `events`, `hints`, `clients`, `leases`, `references`,
    `attempts`, `observations`, `fair_use`, `sims`, `orders_of`, `messages`, `mandates`, `vouchers`, `batches`, `group`,
    `steps` and `api_answers` are prefixes."""

    slot: int
    account: bytes
    pool: bytes
    answers: bytes
    events: bytes
    hints: bytes
    clients: bytes
    leases: bytes
    references: bytes
    attempts: bytes
    subscribers: bytes
    outbox: bytes
    sequence: bytes
    confirmed: bytes
    due: bytes
    terms: bytes
    observations: bytes
    fair_use: bytes
    sims: bytes
    abroad: bytes
    observed: bytes
    topups: bytes
    orders: bytes
    orders_of: bytes
    messages: bytes
    mandates: bytes
    vouchers: bytes
    batches: bytes
    voucher_counts: bytes
    voucher_claims: bytes
    group: bytes
    steps: bytes
    groups: bytes
    group_work: bytes
    transit: bytes
    api_answers: bytes

    def reference_months(self, month: int) -> tuple[bytes, ...]:
        """This month's references, then those of the months before that are still kept, then the next month's: a try
        that was slow at the month's end may come after its repetition.
        """
        return _reference_months(self.references, month)


@lru_cache(maxsize=4096)
def _reference_months(references: bytes, month: int) -> tuple[bytes, ...]:
    year, number = divmod(month, 100)
    this = year * 12 + number - 1
    numbers = (*range(this, this - REFERENCE_MONTHS, -1), this + 1)
    return tuple(references + f"{each // 12}{each % 12 + 1:02d}".encode() for each in numbers)


def _partition_keys(tag: str) -> PartitionKeys:
    head = f"{{{tag}}}:".encode()
    return PartitionKeys(
        slot=key_slot(tag.encode()),
        account=head + b"a:",
        pool=head + b"p:",
        answers=head + b"q:",
        events=head + b"e:",
        hints=head + b"h:",
        clients=head + b"c:",
        leases=head + b"l:",
        references=head + b"r:",
        attempts=head + b"t:",
        subscribers=head + b"subscribers",
        outbox=head + b"outbox",
        sequence=head + b"sequence",
        confirmed=head + b"confirmed",
        due=head + b"due",
        terms=head + b"terms",
        observations=head + b"o:",
        fair_use=head + b"f:",
        sims=head + b"s:",
        abroad=head + b"abroad",
        observed=head + b"observed",
        topups=head + b"topups",
        orders=head + b"orders",
        orders_of=head + b"y:",
        messages=head + b"m:",
        mandates=head + b"d:",
        vouchers=head + b"v:",
        batches=head + b"b:",
        voucher_counts=head + b"voucher_counts",
        voucher_claims=head + b"voucher_claims",
        group=head + b"g:",
        steps=head + b"w:",
        groups=head + b"groups",
        group_work=head + b"group_work",
        transit=head + b"transit",
        api_answers=head + b"k:",
    )


@lru_cache(maxsize=8)
def _by_partition(partitions: int) -> tuple[PartitionKeys, ...]:
    return tuple(map(_partition_keys, _tags(partitions)))


class Keys:
    """Key names for a number of partitions."""

    def __init__(self, partitions: int) -> None:
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise ValueError(f"partitions = {partitions}: 1 to {MAX_PARTITIONS} are allowed")
        self.partitions = partitions
        self.by_partition = _by_partition(partitions)
        first = f"{{{_tags(partitions)[0]}}}:".encode()
        self.origin_states = first + b"origin_states"
        self.dirty = first + b"dirty"
        self.ledger = first + b"ledger"
        self.nodes = first + b"nodes"
        self.traced = first + b"traced"
        self.api_keys = first + b"api_keys"
        self.api_keys_used = first + b"api_keys_used"
        self.equipment_key = first + b"equipment_key"
        self.voucher_key = first + b"voucher_key"
        self.voucher_batches = first + b"voucher_batches"
        self.catalogue = first + b"catalogue"
        self.catalogue_offer = first + b"catalogue_offer"
        self.catalogue_answers = first + b"catalogue_answers"
        self.catalogue_readers = first + b"catalogue_readers"
        self.catalogue_files = first + b"catalogue_files"

    def partition_of_name(self, name: str) -> int:
        """Partition of a subscriber id, reference or lease, by its checksum."""
        return zlib.crc32(name.encode()) % self.partitions

    def partition_of_session(self, name: bytes) -> int:
        """Partition of the hint for a session (`session_name`)."""
        return zlib.crc32(name) % self.partitions

    def partition_of_account(self, account_id: str) -> int:
        """Partition in the account id: that of "17-4f2a9c…" is 17. ValueError: this is no account id."""
        partition = int(account_id.partition("-")[0])
        if not 0 <= partition < self.partitions:
            raise ValueError(f"account id {account_id!r} names partition {partition} of {self.partitions}")
        return partition

    def new_account_id(self, msisdn: str, entropy: int) -> str:
        """An account id in the MSISDN's partition that does not reveal its holder. `entropy`: random, 64 bits."""
        return account_id(self.partition_of_name(by_msisdn(msisdn)), f"{entropy:016x}")

    def account_pattern(self) -> bytes:
        """SCAN pattern of all accounts."""
        return b"{p*}:a:*"


def account_id(partition: int, unguessable: str) -> str:
    return f"{partition:02d}-{unguessable}"


def session_name(session_id: str, owner: str) -> bytes:
    """Name of a session in keys: the Session-Id, after its owner (an Origin-Host in small letters, or a failover group)
    unless the Session-Id begins with it. So owners never share a key.
    """
    own = session_id[: len(owner) + 1].lower() == owner + ";"  # RFC 6733 §8.8
    return (session_id if own else f"{owner} {session_id}").encode()


def account_id_of_key(key: bytes) -> str:
    return key.rsplit(b":", 1)[1].decode()

"""The two sides beside each other, with engines and connections that fail at random: nothing of two generations ever
stands side by side, and all are up again or all have ended within the bound."""

import random

import pytest

from cluster.lead import Lead
from cluster.member import Member
from server.restarts import Restarts

WAIT, SILENCE, STEP = 30.0, 5.0, 0.5
BEARS = 4  # restarts


class Node:
    """A member, its engine, and its connection; `alive`: its worker runs."""

    def __init__(self, rank, now):
        self.member = Member(rank, WAIT, SILENCE, now)
        self.alive, self.linked, self.deaf = True, False, False
        self.engine, self.number, self.due, self.own = "none", 0, 0.0, ""
        self.link = 0  # its number: what was said on one that is gone does not arrive


class World:
    def __init__(self, seed, count):
        self.chance, self.now, self.count = random.Random(seed), 0.0, count
        self.lead = Lead(count, Restarts(BEARS, 1e9), WAIT, SILENCE, 0.0)
        self.nodes = [Node(rank, 0.0) for rank in range(count)]
        self.wire = []  # (due, to, from, message); "lead" or a rank
        self.do_lead(self.lead.joined(0, 0.0))
        self.nodes[0].linked = True
        self.do(0, self.nodes[0].member.linked(0.0))

    # what the two sides want
    def do_lead(self, orders):
        for rank, message in orders:
            node = self.nodes[rank]
            if message == ["close"]:
                node.linked = False
                if not node.deaf:
                    self.wire.append((self.now, rank, ["unlinked"], node, node.link))
            elif rank == 0:
                self.do(0, node.member.told(message, self.now))
            elif node.linked and not node.deaf:
                self.wire.append((self.now + STEP * self.chance.choice([0, 0, 1]), rank, message, node, node.link))

    def do(self, rank, orders):
        node = self.nodes[rank]
        for word, *about in orders:
            if word == "send":
                if rank == 0:
                    self.do_lead(self.lead.heard(0, about[0], self.now))
                elif node.linked and not node.deaf:
                    self.wire.append((self.now, "lead", about[0], node, node.link))
            elif word == "allow":
                self.check_start(node.member._generation)
                node.engine, node.number, node.own = "starting", about[0], ""
                node.due = self.now + self.chance.choice([1, 2, 4])
            elif word == "doom" and node.engine != "none":
                node.engine, node.due = "dying", self.now + self.chance.choice([0, 1, 3])
            elif word == "close":
                node.linked = False

    def check_start(self, generation):
        """Whoever has an engine by now has it since this very start."""
        for one in self.nodes:
            assert one.engine == "none" or one.member._generation == generation

    # what happens
    def step(self, trouble):
        self.now += STEP
        due, self.wire = [one for one in self.wire if one[0] <= self.now], [o for o in self.wire if o[0] > self.now]
        for _, to, message, node, link in due:
            rank = node.member.rank
            gone = self.nodes[rank] is not node or node.link != link or not node.linked and message != ["unlinked"]
            if not node.alive or node.deaf or gone:
                continue
            if message == ["unlinked"]:
                self.do(rank, node.member.unlinked("closed", self.now))
            elif to == "lead":
                self.do_lead(self.lead.heard(rank, message, self.now))
            else:
                self.do(rank, node.member.told(message, self.now))
        for rank, node in enumerate(self.nodes):
            self.live(rank, node)
        if trouble:
            self.trouble()
        self.do_lead(self.lead.tick(self.now))
        for rank, node in enumerate(self.nodes):
            if node.alive:
                self.do(rank, node.member.tick(self.now))

    def live(self, rank, node):
        if node.engine == "starting" and self.now >= node.due:
            node.engine = "up"
            self.do(rank, node.member.became("up", node.number, ""))
        elif node.engine == "dying" and self.now >= node.due:
            node.engine = "none"
            self.do(rank, node.member.became("gone", node.number, node.own))
        if rank and node.alive and not node.member._linked and not node.member.over and not self.lead.over:
            node.linked, node.deaf, node.link = True, False, node.link + 1
            self.do_lead(self.lead.joined(rank, self.now))
            self.do(rank, node.member.linked(self.now))

    def trouble(self):
        what = self.chance.choice(["engine", "worker", "link", "deaf", "none", "none"])
        rank = self.chance.randrange(self.count)
        node = self.nodes[rank]
        if what == "engine" and node.engine in ("starting", "up"):
            node.engine, node.due, node.own = "dying", self.now, "by itself"
        elif rank == 0:
            return
        elif what == "worker":
            if node.linked and not node.deaf:
                self.do_lead(self.lead.lost(rank, "closed", self.now))
            fresh = Node(rank, self.now)  # its guard has killed its engine
            self.nodes[rank] = fresh
        elif what == "link" and node.linked and not node.deaf:
            node.linked = False
            self.do_lead(self.lead.lost(rank, "closed", self.now))
            self.do(rank, node.member.unlinked("closed", self.now))
        elif what == "deaf" and node.linked:
            node.deaf = True

    @property
    def settled(self):
        up = self.lead.running and all(node.engine == "up" for node in self.nodes)
        return bool(up or self.lead.over and all(node.member.over or not node.linked for node in self.nodes))


@pytest.mark.parametrize("seed", range(300))
def test_whatever_happens_all_are_up_or_all_have_ended_in_time(seed):
    world = World(seed, count=2 + seed % 3)
    for _ in range(200):
        world.step(trouble=world.chance.random() < 0.05)
        assert len({node.member._generation for node in world.nodes if node.engine != "none"}) <= 1
    began = world.now
    while not world.settled:
        world.step(trouble=False)
        # A silence, the death, the longest pause, the start; or the wait for a node that ended for good.
        assert world.now - began < SILENCE + WAIT + 60, [(n.engine, n.member.over) for n in world.nodes]

"""Properties of the rollout plan: a simulated world, any order of events, any crash."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modelyard.domain import rollout
from modelyard.domain.conditions import Facts, next_status
from modelyard.domain.deployment import Failure, Phase, Replica
from modelyard.domain.rollout import Action, Drain, Kill, Start, Stop
from modelyard.domain.runtime import RuntimeState, RuntimeStatus
from tests.domain.make import NOW, ROOM, deployment

BUILT = RuntimeStatus(state=RuntimeState.READY)
BROKEN = Failure(reason="ModelLoadFailed", message="no")


class Rollouts(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.deployment = deployment(replicas=2)
        self.world: dict[str, Replica] = {}
        self.routed: frozenset[str] = frozenset()
        self.now = NOW

    def plan(self) -> tuple[Action, ...]:
        observed = list(self.world.values())
        return rollout.plan(self.deployment, observed, routed=self.routed, now=self.now, launches=ROOM)

    def act(self, action: Action) -> None:
        here = self.world.get(action.replica)
        match action:
            case Start(name, revision, _):
                new = Replica(name=name, revision=revision, phase=Phase.STARTING, started_at=self.now)
                self.world.setdefault(name, new)
            case Drain(name) if here and here.phase is not Phase.FAILED:
                self.world[name] = replace(here, phase=Phase.DRAINING, draining_since=self.now)
            case Stop(name) if here and here.phase is not Phase.FAILED:
                since = here.stopping_since or self.now
                self.world[name] = replace(here, phase=Phase.STOPPING, stopping_since=since)
            case Kill(name):
                self.world.pop(name, None)

    def record(self, actions: tuple[Action, ...]) -> None:
        facts = Facts(actions=actions, routed=self.routed, runtime=BUILT)
        status = next_status(self.deployment, tuple(self.world.values()), facts, now=self.now)
        self.deployment = replace(self.deployment, status=status)

    @rule(replicas=st.integers(0, 5), surge=st.integers(1, 3))
    def a_user_scales(self, replicas: int, surge: int) -> None:
        before = self.deployment
        spec = replace(before.spec, replicas=replicas, max_surge=surge)
        self.deployment = replace(before, generation=before.generation + 1, spec=spec)

    @rule()
    def a_user_changes_the_model(self) -> None:
        before = self.deployment
        self.deployment = replace(before, generation=before.generation + 1, revision=before.revision + 1)

    @rule(steps=st.integers(0, 4))
    def a_controller_acts_and_dies_after(self, steps: int) -> None:
        for action in self.plan()[:steps]:
            self.act(action)

    @rule(published=st.booleans())
    def a_controller_acts_and_records(self, *, published: bool) -> None:
        actions = self.plan()
        self.record(actions)
        if published:
            self.the_gateway_takes_up_what_is_ready()
        for action in actions:
            self.act(action)

    @rule()
    def what_starts_becomes_ready(self) -> None:
        starting = {n: r for n, r in self.world.items() if r.phase is Phase.STARTING}
        self.world |= {n: replace(r, phase=Phase.READY) for n, r in starting.items()}

    @rule()
    def two_controllers_act_on_the_same_facts(self) -> None:
        actions = self.plan()
        for action in [*actions, *actions]:
            self.act(action)

    @rule()
    def the_gateway_takes_up_what_is_ready(self) -> None:
        self.routed = frozenset(r.name for r in self.world.values() if r.phase is Phase.READY)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 40.0, 200.0, -3600.0]))
    def the_clock_moves(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.world)
    @rule(data=st.data(), phase=st.sampled_from([Phase.READY, Phase.UNREADY, Phase.FAILED]))
    def a_replica_becomes(self, data: st.DataObject, phase: Phase) -> None:
        name = data.draw(st.sampled_from(sorted(self.world)))
        here = self.world[name]
        leaving = here.phase in (Phase.DRAINING, Phase.STOPPING, Phase.FAILED)
        if phase is Phase.FAILED or not leaving:
            failure = BROKEN if phase is Phase.FAILED else None
            self.world[name] = replace(here, phase=phase, failure=failure)

    @precondition(lambda self: self.world)
    @rule(data=st.data())
    def a_replica_vanishes(self, data: st.DataObject) -> None:
        del self.world[data.draw(st.sampled_from(sorted(self.world)))]

    @invariant()
    def no_ready_replica_that_is_still_needed_is_taken_away(self) -> None:
        ready = {r.name for r in self.world.values() if r.phase is Phase.READY}
        gone = {a.replica for a in self.plan() if not isinstance(a, Start)}
        assert len(ready - gone) >= min(len(ready), self.deployment.spec.replicas)

    @invariant()
    def nothing_is_stopped_while_requests_may_reach_it(self) -> None:
        assert not {a.replica for a in self.plan() if isinstance(a, Stop)} & self.routed

    @invariant()
    def ready_replicas_are_drained_before_anything_else(self) -> None:
        ready = {r.name for r in self.world.values() if r.phase is Phase.READY}
        assert not ready & {a.replica for a in self.plan() if isinstance(a, Stop | Kill)}

    @invariant()
    def starting_never_exceeds_the_surge(self) -> None:
        live = sum(r.phase is not Phase.FAILED for r in self.world.values())
        started = sum(isinstance(a, Start) for a in self.plan())
        spec = self.deployment.spec
        assert not started or live + started <= spec.replicas + spec.max_surge

    @invariant()
    def a_replica_gets_one_action_and_a_new_one_a_free_name(self) -> None:
        names = [a.replica for a in self.plan()]
        assert len(names) == len(set(names))
        assert not {a.replica for a in self.plan() if isinstance(a, Start)} & (set(self.world) | self.routed)

    def teardown(self) -> None:
        """Left alone, the world reaches the spec, and then there is nothing to do."""
        for _ in range(60):
            actions = self.plan()
            self.record(actions)
            for action in actions:
                self.act(action)
            heal = {Phase.STARTING: Phase.READY, Phase.UNREADY: Phase.READY}
            self.world = {
                n: replace(r, phase=heal.get(r.phase, r.phase), failure=None)
                for n, r in self.world.items()
                if r.phase is not Phase.STOPPING
            }
            self.the_gateway_takes_up_what_is_ready()
            self.now += 61.0
        assert self.plan() == ()
        assert len(self.world) == self.deployment.spec.replicas
        assert all(r.revision == self.deployment.wanted_revision for r in self.world.values())


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

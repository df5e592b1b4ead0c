"""Properties of judged rollouts: the same world as plain ones, with steps, gates, users and lost looks."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from modelyard.domain import progress, rollout, rollout_shares
from modelyard.domain.deployment import Deployment, Phase, Replica
from modelyard.domain.judging import Seen
from modelyard.domain.rollout import Action, Start
from modelyard.domain.rollout_shares import Part, wanted
from modelyard.domain.rollout_status import Counts, Order
from modelyard.domain.strategy import Kind, Strategy
from modelyard.gateway.routes import serves
from tests.domain.make import NOW, ROOM
from tests.domain.test_rollout_machine import Rollouts

STRATEGIES = (
    Strategy(kind=Kind.CANARY, min_requests=0, interval_seconds=5, keep_seconds=5),
    Strategy(kind=Kind.CANARY, steps=(0, 50, 100), mirror=10, min_requests=0, interval_seconds=5, lean=True),
    Strategy(kind=Kind.BLUE_GREEN, min_requests=0, keep_seconds=40, gates=("errors=1%", "manual=100")),
    Strategy(gates=("errors=1%",), min_requests=0, interval_seconds=5),
    Strategy(),
)


class Judged(Rollouts):
    @initialize(strategy=st.sampled_from(STRATEGIES))
    def a_good_revision_serves_and_another_is_deployed(self, strategy: Strategy) -> None:
        self.world = {
            name: Replica(name=name, revision=1, phase=Phase.READY, started_at=NOW)
            for name in ("churn-7-1-0", "churn-7-1-1")
        }
        self.record(())
        self.the_gateway_takes_up_what_is_ready()
        self.a_user_chooses_a_strategy(strategy)
        self.a_user_changes_the_model()

    def advanced(self, seen: Seen | None = None) -> Deployment:
        replicas = rollout.remember(self.deployment.status.replicas, tuple(self.world.values()), now=self.now)
        status = progress.advance(self.deployment, replicas, seen, now=self.now)
        return replace(self.deployment, status=status)

    def plan(self) -> tuple[Action, ...]:
        observed = list(self.world.values())
        return rollout.plan(self.advanced(), observed, routed=self.routed, now=self.now, launches=ROOM)

    def record(self, actions: tuple[Action, ...], seen: Seen | None = None) -> None:
        self.deployment = self.advanced(seen)
        super().record(actions)

    def parts(self) -> tuple[Part, ...]:
        addressed = tuple(
            replace(r, address="unix:/x", phase=self.world[r.name].phase)
            for r in self.deployment.status.replicas
            if r.name in self.world
        )
        status = replace(self.deployment.status, replicas=addressed)
        return rollout_shares.parts(replace(self.deployment, status=status), serves=serves)

    @rule(strategy=st.sampled_from(STRATEGIES))
    def a_user_chooses_a_strategy(self, strategy: Strategy) -> None:
        before = self.deployment
        self.deployment = replace(
            before, generation=before.generation + 1, spec=replace(before.spec, strategy=strategy)
        )

    @rule(
        paused=st.booleans(), approved=st.sampled_from([0, 100]), aborted=st.booleans(), plain=st.booleans()
    )
    def a_user_says(self, *, paused: bool, approved: int, aborted: bool, plain: bool) -> None:
        before = self.deployment
        order = Order(
            revision=before.revision, paused=paused, approved=approved, aborted=aborted, plain=plain, by="ada"
        )
        self.deployment = replace(before, generation=before.generation + 1, order=order)

    @rule(errors=st.sampled_from([0, 0, 0, 500]))
    def it_is_judged(self, errors: int) -> None:
        seen = Seen(new=Counts(requests=500, errors=errors), old=Counts(requests=500))
        actions = self.plan()
        self.record(actions, seen)
        self.the_gateway_takes_up_what_is_ready()

    @rule()
    def the_gateway_takes_up_what_is_ready(self) -> None:
        parts = self.parts()
        ready = frozenset(r.name for r in self.world.values() if r.phase is Phase.READY)
        named = frozenset(r.name for part in parts for r in part.replicas)
        self.routed = ready & named if parts else ready

    @invariant()
    def weights_sum_to_a_hundred_and_go_to_ready_replicas_only(self) -> None:
        parts = self.parts()
        if parts:
            assert sum(part.weight for part in parts) == (100 if any(p.replicas for p in parts) else 0)
            assert all(part.replicas for part in parts if part.weight)
            assert all(r.phase is Phase.READY for part in parts for r in part.replicas)

    @invariant()
    def a_rollout_that_went_wrong_gives_everything_back(self) -> None:
        done = self.deployment.status.rollout
        if done and self.deployment.status.failed_revision == done.revision and done.weights:
            assert done.weight(done.base) == 100 or not done.is_over

    @invariant()
    def starting_never_exceeds_the_surge(self) -> None:
        live = sum(r.phase is not Phase.FAILED for r in self.world.values())
        started = sum(isinstance(a, Start) for a in self.plan())
        spec, judged = self.deployment.spec, progress.active(self.advanced())
        most = spec.replicas + spec.max_surge
        if judged is not None:
            most = max(most, spec.replicas + rollout_shares.needed(self.deployment, judged))
        assert not started or live + started <= most

    def teardown(self) -> None:
        """Left alone and approved of, it ends: with what is wanted, or with the base when it went wrong."""
        order = Order(revision=self.deployment.revision, approved=100, aborted=self.deployment.order.aborted)
        self.deployment = replace(self.deployment, order=order)
        super().teardown()
        done = self.advanced().status.rollout
        if done is not None and not done.is_over and wanted(self.deployment) == 0:
            # Nothing proves itself while it is offline: it goes on when there is a replica again.
            assert done.message == "no replica is wanted now; it goes on once there is one"
            return
        assert done is None or (done.is_over and not done.weights)


Judged.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestJudged = Judged.TestCase

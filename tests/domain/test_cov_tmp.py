from collections import Counter
from hypothesis import Phase as HP
from tests.domain.test_judged_machine import *
C=Counter()
class X(Judged):
    def record(self, actions, seen=None):
        super().record(actions, seen)
        r=self.deployment.status.rollout
        C[(str(r.stand), self.deployment.spec.strategy.kind.value) if r else None]+=1
X.TestCase.settings=settings(max_examples=700, stateful_step_count=40, deadline=None, phases=[HP.generate])
TestX=X.TestCase
def test_zz():
    print(C); assert len(C)<0
del TestJudged, Judged, Rollouts

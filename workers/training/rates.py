"""The learning rate of a step: a pure function of the step and of how many there are, in steps of the optimiser."""

from math import cos, pi

from workers.training.plan import TrainingPlan


def rate(plan: TrainingPlan, highest: float, step: int) -> float:
    """Return the learning rate of a step, from 0: linear up to `highest` during the warm-up, then as the plan says.

    A rate that falls is 0 at the last step.
    """
    if step < plan.lr_warmup_steps:
        return highest * (step + 1) / plan.lr_warmup_steps
    over = (step - plan.lr_warmup_steps) / max(plan.steps - 1 - plan.lr_warmup_steps, 1)
    fall = {"constant": 1.0, "linear": 1.0 - over, "cosine": 0.5 * (1.0 + cos(pi * over))}
    return highest * fall[plan.lr_scheduler]

"""Recipes to tag writes. Pure: recipe and equipment type in, Writes out; limits are checked where they are sent."""

from __future__ import annotations

from configs.schema import Equipment, FormationRecipe, FormationStep, Recipe, UnitRecipe
from controller.types import Write


def recipe_writes(recipe: Recipe, equipment: Equipment) -> tuple[Write, ...]:
    """Everything that the equipment must hold before it may start this recipe."""
    if isinstance(recipe, FormationRecipe):
        return _formation_writes(recipe, equipment)
    if isinstance(recipe, UnitRecipe):
        return tuple(Write(tag, (value,)) for tag, value in recipe.setpoint.items())
    return (
        Write("web_speed_sp_m_s", (recipe.web_speed_m_s,)),
        Write("pump_rate_sp_ml_s", (recipe.pump_rate_ml_s,)),
        Write("zone_temperature_sp_c", recipe.zone_temperature_c),
        Write("length_sp_m", (recipe.length_m,)),
    )


def _formation_writes(recipe: FormationRecipe, equipment: Equipment) -> tuple[Write, ...]:
    """All step registers, unused ones as zero, so that nothing of an earlier programme stays behind."""
    found = equipment.find("step_mode")
    slots = found[0].points if found else len(recipe.step)
    unused = slots - len(recipe.step)

    def column(tag: str, pick: object) -> Write:
        assert callable(pick)
        return Write(tag, tuple(float(pick(step)) for step in recipe.step) + (0.0,) * unused)

    def mode(step: FormationStep) -> float:
        return step.mode.code

    return (
        column("step_mode", mode),
        column("step_cycle", lambda s: s.cycle),
        column("step_current_a", lambda s: s.current_a),
        column("step_voltage_v", lambda s: s.voltage_limit_v),
        column("step_end_current_a", lambda s: s.end_current_a),
        column("step_duration_s", lambda s: s.duration_s),
        Write("programme_id", (float(recipe.programme_id),)),
        Write("programme_steps", (float(len(recipe.step)),)),
    )

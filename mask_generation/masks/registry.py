"""Mask recipes by name. A new recipe is a class in a module of this folder and one line here."""

from __future__ import annotations

from mask_generation.masks.adaptive import AdaptiveRecipe
from mask_generation.masks.base import Recipe
from mask_generation.masks.published import ArticleRecipe, OfficialRecipe, SsimRecipe, ThresholdRecipe

_RECIPES: dict[str, type[Recipe]] = {
    recipe.name: recipe for recipe in (AdaptiveRecipe, ArticleRecipe, OfficialRecipe, SsimRecipe, ThresholdRecipe)
}
RECIPES = tuple(_RECIPES)
DEFAULT_RECIPE = AdaptiveRecipe.name


def get_recipe(name: str) -> Recipe:
    """The recipe of that name, one of `RECIPES`.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in _RECIPES:
        raise ValueError(f"no mask recipe {name!r}: there are {', '.join(RECIPES)}")
    return _RECIPES[name]()

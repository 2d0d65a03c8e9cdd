"""Fair share: how many of the places that many users share may be one user's."""

FIRST_PLACES = 4
"""A user with nothing under way gets a place though all are taken, until there are so many times as many."""


def fits(own: int, all_of_them: int, places: int, user_share: float) -> bool:
    """Tell if a user may have one more: a first one nearly always, else within the share of what others leave."""
    if own == 0:
        return all_of_them < places * FIRST_PLACES
    return all_of_them < places and own + 1 <= user_share * (places - (all_of_them - own))

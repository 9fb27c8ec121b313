"""Environments with goals whose shortest paths are known."""

from collections import deque

import gymnasium as gym
import numpy as np

spaces = gym.spaces
MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))
SIZE, WALLS = 5, ((1, 1), (2, 1), (3, 1), (3, 2), (3, 3))
CELLS = [(r, c) for r in range(SIZE) for c in range(SIZE) if (r, c) not in WALLS]


def step_from(cell, action):
    """Where an action leads from a cell of the grid: walls and the border hold."""
    there = cell[0] + MOVES[action][0], cell[1] + MOVES[action][1]
    return there if there in CELLS else cell


def distances(successors, first):
    """The least number of steps from `first` to everything that can be reached, by breadth-first search."""
    found, queue = {first: 0}, deque([first])
    while queue:
        here = queue.popleft()
        for there in successors(here):
            if there not in found:
                found[there] = found[here] + 1
                queue.append(there)
    return found


def shortest(start, goal):
    """The length of the shortest path between two cells, given as r · SIZE + c or as (r, c)."""
    start, goal = (divmod(int(x), SIZE) if np.ndim(x) == 0 else tuple(int(i) for i in x) for x in (start, goal))
    return distances(lambda cell: [step_from(cell, a) for a in range(4)], start)[goal]


class Grid(gym.Env):
    """A walled grid; start and wanted goal are random cells. Observations are labels, or row and column."""

    def __init__(self, labels=True):
        self.labels = labels
        part = spaces.Discrete(SIZE * SIZE) if labels else spaces.Box(0, SIZE - 1, (2,), np.int32)
        self.observation_space = spaces.Dict(dict.fromkeys(("observation", "achieved_goal", "desired_goal"), part))
        self.action_space = spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.goal = (CELLS[i] for i in self.np_random.integers(len(CELLS), size=2))
        return self._seen(), {}

    def step(self, action):
        self.at = step_from(self.at, int(action))
        return self._seen(), float(self.at == self.goal) - 1.0, False, False, {}

    def _seen(self):
        at, goal = (
            np.int64(r * SIZE + c) if self.labels else np.array([r, c], np.int32) for r, c in (self.at, self.goal)
        )
        return {"observation": at, "achieved_goal": at, "desired_goal": goal}


class Point(gym.Env):
    """A point in the plane, pushed by an action in a box: it moves by up to 0.2 a step."""

    def __init__(self):
        plane = spaces.Box(-2.0, 2.0, (2,), np.float32)
        self.observation_space = spaces.Dict(observation=plane, achieved_goal=plane, desired_goal=plane)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.goal = self.np_random.uniform(-1, 1, (2, 2)).astype(np.float32)
        return self._seen(), {}

    def step(self, action):
        self.at = np.clip(self.at + 0.2 * action, -1.5, 1.5).astype(np.float32)
        return self._seen(), 0.0, False, False, {}

    def _seen(self):
        return {"observation": self.at, "achieved_goal": self.at, "desired_goal": self.goal}


class Line(gym.Env):
    """Cells 0 … 6 in a row, from the middle; leaving an end is over. A mask forbids the third action."""

    def __init__(self, masked=False):
        self.observation_space, self.action_space = spaces.Discrete(7), spaces.Discrete(3)
        self.masked = masked

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 3
        return self.at, self._info()

    def step(self, action):
        assert not (self.masked and action == 2)
        there = self.at + (-1, 1, 0)[action]
        over = not 0 <= there < 7
        self.at = int(np.clip(there, 0, 6))
        return self.at, 0.0, over, False, self._info()

    def _info(self):
        return {"action_mask": np.array([1, 1, 0], np.int8)} if self.masked else {}


WORLDS = {"Grid": Grid, "Squares": lambda: Grid(labels=False), "Point": Point, "Line": Line,
          "MaskedLine": lambda: Line(masked=True)}  # fmt: skip


def world(name):
    """The id of a world, registered so that several can be made of it."""
    made = f"Kullback{name}-v0"
    if made not in gym.registry:
        gym.register(made, WORLDS[name])
    return made

"""Films of an episode: what each kind of file holds, and errors that come before a training and not after it."""

import io
import subprocess
import sys

import gymnasium as gym
import numpy as np
import numpyro.distributions as dist
import pytest
from PIL import Image

import kullback as kl
from kullback.control.agent import Agent
from kullback.control.view import contact_sheet as strips
from kullback.control.view.film import check_film, film, frames
from kullback.errors import FileError, InputError

RED = np.array([200, 30, 30], np.uint8)
WALK = 20
ID = "kullback-tests/Walk-v0"


class Walk(gym.Env):
    """A red square goes one place to the right at each step, from 0 to WALK; the reward of a step is 2."""

    metadata = {"render_modes": ["rgb_array", "ansi", "human"], "render_fps": 50}  # noqa: RUF012
    observation_space = gym.spaces.Discrete(WALK + 1)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode, self.place, self.closed = render_mode, 0, False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return 0, {}

    def step(self, action):
        self.place += 1
        return self.place, 2.0, self.place == WALK, False, {"action_mask": np.array([1, 1], np.int8)}

    def render(self):
        if self.render_mode == "ansi":
            line = "." * WALK
            return f"  (Right)\n{line[: self.place]}\x1b[41mo\x1b[0m{line[self.place :]}\n"
        picture = np.full((20, 10 * (WALK + 1), 3), 255, np.uint8)
        picture[5:15, 10 * self.place : 10 * self.place + 10] = RED
        return picture

    def close(self):
        self.closed = True


class Blind(Walk):
    metadata = {"render_modes": []}  # noqa: RUF012


class Text(Walk):
    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012


class Odd(Walk):
    def render(self):
        return [np.zeros((2, 2, 3))]


class Without(Walk):
    def render(self):
        raise gym.error.DependencyNotInstalled(
            'pygame is not installed, run `pip install "gymnasium[classic-control]"`'
        )


@pytest.fixture(scope="module", autouse=True)
def registered():
    gym.register(ID, Walk)
    yield
    del gym.registry[ID]


@pytest.fixture(scope="module")
def agent():
    x = np.arange(WALK + 1)
    fit = kl.KL(kl.Pairs(x, x % 2), kl.Conditional(kl.Table(), dist.Categorical)).minimize(quiet=True)
    return Agent(fit, Walk())


def where(picture) -> float:
    """The place of the red square, from 0 to WALK, whatever the size."""
    red = np.asarray(picture, int)
    columns = np.flatnonzero(((red[..., 0] > 120) & (red[..., 1] < 120)).any(0))
    return float(columns.mean() + 0.5) / red.shape[1] * (WALK + 1) - 0.5


def test_frames_are_those_of_every_step(agent):
    env = Walk("rgb_array")
    seen = frames(env, agent)
    assert len(seen) == WALK + 1
    np.testing.assert_allclose([where(picture) for picture in seen], range(WALK + 1), atol=1e-6)
    assert len(frames(env, agent, steps=3)) == 4
    assert not env.closed  # it is the caller's
    assert len(frames(ID, agent, greedy=False)) == WALK + 1


def test_a_gif_moves_in_the_environments_time(tmp_path, agent):
    assert film(tmp_path / "walk.gif", ID, agent) == tmp_path / "walk.gif"
    places, times = [], []
    with Image.open(tmp_path / "walk.gif") as image:
        for i in range(image.n_frames):
            image.seek(i)
            places.append(where(image.convert("RGB")))
            times.append(image.info["duration"])
    # 50 frames a second are shown as 25: every other one, 40 ms each, and the last for a second.
    np.testing.assert_allclose(places, range(0, WALK + 1, 2), atol=0.05)
    assert times == [40] * (WALK // 2) + [1000]
    assert [file.name for file in tmp_path.iterdir()] == ["walk.gif"]


def test_a_strip_has_eight_frames_evenly_spaced(tmp_path, agent):
    film(tmp_path / "strip.png", ID, agent)
    with Image.open(tmp_path / "strip.png") as image:
        page = np.asarray(image.convert("RGB"), int)
    height = round(strips.CELL * 20 / (10 * (WALK + 1)))
    places = []
    for row in range(2):
        for column in range(4):
            x = strips.MARGIN + column * (strips.CELL + strips.GAP)
            y = strips.MARGIN + strips.LINE + row * (height + strips.LINE + strips.GAP // 2)
            places.append(where(page[y : y + height, x : x + strips.CELL]))
    np.testing.assert_allclose(places, np.linspace(0, WALK, 8), atol=0.6)
    assert places[0] == pytest.approx(0.0, abs=0.1)
    assert places[-1] == pytest.approx(WALK, abs=0.1)


def test_a_strip_of_a_long_episode_stays_even():
    shots = [(step, np.full((4, 6, 3), step % 256, np.uint8)) for step in (*range(0, 500, 8), 500)]
    steps = [step for step, _ in strips._spread(shots)]
    assert steps[0] == 0
    assert steps[-1] == 500
    assert len(steps) == 8
    np.testing.assert_allclose(np.diff(steps), 500 / 7, atol=8.5)


@pytest.mark.parametrize("shape", [(1, 1, 3), (20, 5, 3), (500, 20, 3), (8, 900, 3)])
@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_strips_and_animations_of_any_shape(shape, n):
    shots = [(i, np.full(shape, 7 * i, np.uint8)) for i in range(n)]
    page = Image.open(io.BytesIO(strips.picture_strip("a", shots, 0.0)))
    assert max(page.size) < 1400
    assert Image.open(io.BytesIO(strips.animation((picture for _, picture in shots), 4.0))).size[0] <= strips.WIDEST


def test_text_side_by_side(tmp_path, agent):
    film(tmp_path / "strip.txt", ID, agent)
    lines = (tmp_path / "strip.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"{ID}: return 40 in 20 steps"
    assert lines[2].startswith("@....................   ")
    assert lines[3].startswith("step 0")
    assert "step 20" in lines[-1]
    assert not any("Right" in line or "\x1b" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_an_environment_that_raises_leaves_what_was_there(tmp_path, agent):
    class Falls(Walk):
        def step(self, action):
            raise RuntimeError("fell")

    (tmp_path / "walk.gif").write_bytes(b"before")
    with pytest.raises(RuntimeError, match="fell"):
        film(tmp_path / "walk.gif", Falls("rgb_array"), agent)
    assert (tmp_path / "walk.gif").read_bytes() == b"before"


@pytest.mark.parametrize(
    ("name", "env", "words"),
    [
        ("a.avi", ID, r"^path: .*a\.avi ends in none of \.gif, \.png, \.mp4, \.txt"),
        ("a.png", Walk(), r'^env: Walk was made with render_mode=None; .*render_mode="rgb_array"'),
        ("a.png", Walk("human"), "was made with render_mode='human'"),
        ("a.png", Blind("rgb_array"), "renders no pictures"),
        ("a.txt", Blind("ansi"), "renders no text"),
        ("a.png", Text("ansi"), r"text only; a \.txt file"),
        ("a.gif", Odd("rgb_array"), "it renders list"),
        ("a.gif", Without("rgb_array"), r'pip install "gymnasium\[classic-control\]"'),
        ("a.gif", object(), r"^env: object cannot be rendered"),
        ("a.gif", "Wolk-v0", r"^env: Gymnasium has no environment"),
    ],
)
def test_what_cannot_be_filmed_is_said_beforehand(tmp_path, agent, name, env, words):
    for attempt in (lambda: check_film(tmp_path / name, env), lambda: film(tmp_path / name, env, agent)):
        with pytest.raises(InputError, match=words):
            attempt()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path, agent):
    check_film(tmp_path / "strip.png", ID)
    with pytest.raises(FileError, match=r"^path: .* cannot be written"):
        film(tmp_path / "missing" / "strip.png", ID, agent)


def test_an_mp4_needs_ffmpeg_and_else_a_gif_would_do(tmp_path, agent, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match=r"needs ffmpeg.*imageio-ffmpeg, or write a \.gif"):
        check_film(tmp_path / "walk.mp4", ID)


def test_what_ffmpeg_writes_is_the_film_and_its_failure_is_one_sentence(tmp_path, agent, monkeypatch):
    monkeypatch.setattr(sys.modules["kullback.control.view.film"], "_ffmpeg", lambda: "ffmpeg")
    run = lambda command, input, **kwargs: subprocess.CompletedProcess(command, 0, input, b"")  # noqa: E731
    monkeypatch.setattr("subprocess.run", run)
    film(tmp_path / "walk.mp4", ID, agent)
    assert len((tmp_path / "walk.mp4").read_bytes()) == (WALK + 1) * 20 * 10 * (WALK + 1) * 3
    fail = lambda command, **kwargs: subprocess.CompletedProcess(command, 1, b"", b"no\nlibx264 is unknown\n")  # noqa: E731
    monkeypatch.setattr("subprocess.run", fail)
    with pytest.raises(FileError, match="libx264 is unknown"):
        film(tmp_path / "walk.mp4", ID, agent)


def test_cart_pole(tmp_path):
    pytest.importorskip("pygame")
    x = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    q = kl.Conditional(kl.Linear(), dist.Categorical)
    fit = kl.KL(kl.Pairs(x, (x[:, 2] + x[:, 3] > 0).astype(int)), q).minimize(quiet=True)
    film(tmp_path / "strip.png", "CartPole-v1", Agent(fit, "CartPole-v1"))
    with Image.open(tmp_path / "strip.png") as image:
        assert image.size[0] > 1200

"""What a camera sees of the ground: sunlight, shadows cast by whatever is high, haze, blur and grain."""

from __future__ import annotations

import math

import numpy as np

from sat2map.fabricate.canvas import PIXEL, Canvas


def photograph(canvas: Canvas) -> np.ndarray:
    """Return what a camera sees `(3, H, W)` uint8: sun, shadows, a little haze, blur and grain."""
    rng = canvas.rng
    turn, steep = rng.uniform(-0.9, 0.9), math.tan(rng.uniform(0.70, 0.85))
    sun = math.cos(turn), math.sin(turn)  # it stands in the south, down in the image
    direct: np.ndarray = slopes(canvas.height, sun, steep) * (1 - _soften(cast_shadows(canvas.height, sun, steep)))
    light = np.array((0.40, 0.44, 0.50)) + np.array((0.66, 0.61, 0.54)) * direct[..., None]
    picture = canvas.colour * light.astype(np.float32) * (1 + 0.04 * canvas.noise(canvas.size / 2.5))[..., None]
    picture = 0.5 * picture + 0.5 * _soften(_soften(picture))
    picture = 0.92 * picture + np.array((13, 16, 21), np.float32)
    picture += 2.6 * rng.standard_normal((*picture.shape[:2], 1), np.float32)
    picture += 1.4 * rng.standard_normal(picture.shape, np.float32)
    return np.ascontiguousarray(np.moveaxis(picture.clip(0, 255).round().astype(np.uint8), -1, 0))


def slopes(height: np.ndarray, sun: tuple[float, float], steep: float) -> np.ndarray:
    """Return Lambert's cosine of the sun on each slope, 1 on flat ground; walls and crowns count as steep slopes."""
    down, right = (np.gradient(height, axis=axis).clip(-0.5, 0.5) / PIXEL for axis in (0, 1))
    towards = -(down * sun[0] + right * sun[1]) / steep
    cosine: np.ndarray = (1 + towards) / np.sqrt(1 + down**2 + right**2)
    return cosine.clip(0, 1.7)


def cast_shadows(height: np.ndarray, sun: tuple[float, float], steep: float) -> np.ndarray:
    """Return 1 where something nearer to the sun hides it: something higher than the ray, step by step."""
    size, hidden = len(height), np.full_like(height, -np.inf)
    for step in range(1, math.ceil(height.max() / (PIXEL * steep)) + 1):
        down, right = round(step * sun[0]), round(step * sun[1])
        left, right = (0, right) if right >= 0 else (-right, 0)
        here = np.s_[: size - down, left : size - right]
        there = np.s_[down:, right : size - left]
        np.maximum(hidden[here], height[there] - step * PIXEL * steep, out=hidden[here])
    return (hidden > height + 0.3).astype(np.float32)


def _soften(picture: np.ndarray) -> np.ndarray:
    """Blur by one pixel along both axes of `(H, W, ...)`."""
    for axis in (0, 1):
        inner = np.moveaxis(picture, axis, 0)
        padded = np.concatenate([inner[:1], inner, inner[-1:]])
        picture = np.moveaxis((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4, 0, axis)
    return picture

"""Solids put together from flat faces, as meshes for the canvas."""

import numpy as np

from panodeeplab.data.scenes.canvas import Mesh

# Rows of a palette: what a face is made of.
PAINT, GLASS, TYRE, RIM, DARK, HEAD, TAIL, PLATE, TRIM, SECOND, DISPLAY, LIGHT, SHADE, SKYLIT = range(14)


class Solid:
    """Collects faces; `part` is the part that the next faces belong to, see `Mesh`."""

    def __init__(self):
        self.faces, self.normals, self.roles, self.lamps, self.parts = [], [], [], [], []
        self.part = 0

    def face(self, corners, role, *, outward, lamp=False):
        """A flat face with corners (K, 3), seen from the side that `outward` (3,) points to."""
        corners = np.asarray(corners, np.float64)
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        normal /= np.linalg.norm(normal)
        if normal @ outward < 0:
            normal = -normal
        self.faces.append(corners)
        self.normals.append(normal)
        self.roles.append(role)
        self.lamps.append(lamp)
        self.parts.append(self.part)

    def patch(self, face, u0, v0, u1, v1, role, *, lamp=False):
        """A rectangle on a four-cornered face, in shares of its sides: u along corners 0-1, v along 0-3."""
        a, b, c, d = face
        spots = [
            (1 - u) * (1 - v) * a + u * (1 - v) * b + u * v * c + (1 - u) * v * d
            for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))
        ]
        normal = np.cross(b - a, c - a)
        mean = np.mean(face, 0)
        self.face(spots, role, outward=normal if normal @ (mean - self.middle) > 0 else -normal, lamp=lamp)

    def frustum(self, low, high, role, top=None, drop=0.0):
        """Faces between the rectangles low and high, each (x0, x1, z0, z1, y).

        The upper front edge lies lower by `drop`. Returns the faces front, back, left, right and top; their
        corners run from the lower left as seen from outside.
        """

        def corners(x0, x1, z0, z1, back, front):
            spots = {"lf": (x0, front, z1), "rf": (x1, front, z1), "lb": (x0, back, z0), "rb": (x1, back, z0)}
            return {name: np.array(spot, float) for name, spot in spots.items()}

        lo, hi = corners(*low, low[-1]), corners(*high, high[-1] - drop)
        self.middle = np.mean([*lo.values(), *hi.values()], axis=0)
        sides = {
            "front": (lo["rf"], lo["lf"], hi["lf"], hi["rf"]),
            "back": (lo["lb"], lo["rb"], hi["rb"], hi["lb"]),
            "left": (lo["lf"], lo["lb"], hi["lb"], hi["lf"]),
            "right": (lo["rb"], lo["rf"], hi["rf"], hi["rb"]),
            "top": (hi["lb"], hi["rb"], hi["rf"], hi["lf"]),
        }
        for name, face in sides.items():
            outward = np.mean(face, 0) - self.middle
            self.face(face, top if top is not None and name == "top" else role, outward=outward)
        return sides

    def box(self, x0, x1, y0, y1, z0, z1, role, top=None):
        return self.frustum((x0, x1, z0, z1, y0), (x0, x1, z0, z1, y1), role, top)

    def wheel(self, x, z, radius, side, *, rim=True):
        """A disc on the side `side` (-1 left, 1 right) at x."""
        angles = np.linspace(0, 2 * np.pi, 13)[:-1]
        for r, role, out in (
            (radius, TYRE, 0.0),
            (radius * 0.62, RIM if rim else DARK, 0.01),
            (radius * 0.2, DARK, 0.02),
        ):
            ring = np.stack(
                [np.full(12, x + side * out), radius + r * np.sin(angles), z + r * np.cos(angles)], 1
            )
            self.face(ring, role, outward=np.array([side, 0, 0]))

    def mesh(self) -> Mesh:
        heads, normals, parts = (
            np.array([face[0] for face in self.faces]),
            np.array(self.normals),
            np.array(self.parts),
        )
        return Mesh(
            vertices=np.concatenate(self.faces),
            starts=np.cumsum([0] + [len(face) for face in self.faces]),
            normals=normals,
            planes=(heads * normals).sum(1),
            roles=np.array(self.roles),
            lamps=np.array(self.lamps, float)[:, None],
            parts=parts,
            centers=np.array([heads[parts == part].mean(0) for part in range(parts.max() + 1)]),
            sizes=np.array([np.sort(np.ptp(face, axis=0))[1] for face in self.faces]),
        )

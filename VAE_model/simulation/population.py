"""The galaxies of the simulated sky: parameters drawn from correlated distributions.

The bulge fraction, pitch angle, colour and young light of a disc all follow one number, its place
along the Hubble sequence, with random deviations; sizes and luminosities follow the magnitude. The
mix of types is that of a magnitude-limited Galaxy Zoo sample with more mergers and strong bars, so
that each class is populated in a sample of two thousand.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from VAE_model.data.sky import close_pairs

MAG_BRIGHT, MAG_FAINT = 14.0, 17.8  # r
COUNTS_SLOPE = 0.26  # dex per magnitude, flatter than Euclidean: more bright galaxies
SMOOTH_SHARE = 0.40
DISTURBED = {"minor-disturbance": 0.055, "major-disturbance": 0.055, "merger": 0.06}
RA_RANGE = (110.0, 260.0)
DEC_RANGE = (-5.0, 31.0)
OVERLAP_DEC_RANGE = (31.5, 33.3)  # the strip around Dec 32.375 deg that both surveys cover
MIN_SEPARATION = 120.0  # arcsec


@dataclass(frozen=True)
class Galaxy:
    """The true parameters of one galaxy: angles in degrees, lengths in arcsec, AB magnitudes.

    Position angles run from north through east. Fractions are of the total r flux.
    """

    kind: str  # smooth or disc
    disturbance: str  # none, minor-disturbance, major-disturbance, merger
    mag_r: float
    redshift: float
    absmag_r: float
    half_light_radius: float  # along the major axis
    position_angle: float
    x_offset: float  # of the centre from the middle of the cutout, to the right (west)
    y_offset: float  # and upwards (north)
    hubble: float  # discs: 0 late to 1 early
    g_r_old: float  # colours of the old light (bulge, bar, smooth galaxies)
    r_z_old: float
    g_r_young: float  # colours of the young light (arms, knots)
    r_z_young: float
    axis_ratio: float  # apparent, of the main body
    sersic_n: float  # of a smooth galaxy or of the bulge
    twist: float  # smooth: angle between the core's and the envelope's position angles
    bulge_fraction: float
    inclination: float  # 0 face-on, 90 edge-on
    thickness: float  # intrinsic axis ratio of the disc
    young_fraction: float  # of the disc's light
    bar_kind: str  # none, weak, strong
    bar_fraction: float
    bar_length: float  # in disc scale lengths
    bar_angle: float  # from the major axis, in the disc's plane
    arms: int
    pitch: float  # angle between arm and circle: small is tight
    handedness: int  # +1: going outwards, arms turn from north to east; -1: to west; 0: no arms
    arm_strength: float  # 0 to 1
    arm_phase: float
    knots: int
    flocculence: float  # rms of the logarithm of the disc's texture
    ring_fraction: float
    ring_radius: float  # in disc scale lengths
    edge_bulge: str  # edge-on discs: none, rounded, boxy
    dust: float  # optical depth in r of an edge-on disc's lane
    lopsidedness: float
    tails: int
    shells: bool
    companion: "Galaxy | None" = None

    @property
    def scale_length(self) -> float:
        """Scale length of the disc, arcsec: half-light radius of an exponential over 1.678."""
        return self.half_light_radius / 1.678

    def row(self) -> dict[str, object]:
        """Return one row of the truth table, with the main parameters of a companion."""
        values = asdict(replace(self, companion=None))
        values.pop("companion")
        other = self.companion
        values["companion_kind"] = other.kind if other else ""
        values["companion_mag_r"] = other.mag_r if other else np.nan
        dx = other.x_offset - self.x_offset if other else np.nan
        dy = other.y_offset - self.y_offset if other else np.nan
        values["companion_separation"] = float(np.hypot(dx, dy))
        values["companion_position_angle"] = float(np.degrees(np.arctan2(-dx, dy)) % 360)
        return values


def draw_positions(
    rng: np.random.Generator, galaxies: int, overlap: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw RA and Dec (degrees); the first `overlap` lie in the strip that both surveys cover."""
    ra, dec = np.empty(galaxies), np.empty(galaxies)
    todo = np.arange(galaxies)
    while len(todo):
        low = np.where(todo < overlap, OVERLAP_DEC_RANGE[0], DEC_RANGE[0])
        high = np.where(todo < overlap, OVERLAP_DEC_RANGE[1], DEC_RANGE[1])
        ra[todo] = rng.uniform(*RA_RANGE, len(todo))
        sine = rng.uniform(np.sin(np.radians(low)), np.sin(np.radians(high)))
        dec[todo] = np.degrees(np.arcsin(sine))
        todo = np.unique(close_pairs(ra, dec, MIN_SEPARATION)[:, 1])
    return ra, dec


def draw_galaxy(rng: np.random.Generator) -> Galaxy:
    """Draw a galaxy, with a companion if it is merging and sometimes if slightly disturbed."""
    u = rng.random()
    span = 10 ** (COUNTS_SLOPE * (MAG_FAINT - MAG_BRIGHT))
    mag = MAG_BRIGHT + np.log10(1 + u * (span - 1)) / COUNTS_SLOPE
    names = ["none", *DISTURBED]
    shares = [1 - sum(DISTURBED.values()), *DISTURBED.values()]
    disturbance = str(rng.choice(names, p=shares))
    galaxy = _draw_one(rng, mag, disturbance)
    if disturbance == "merger":
        galaxy = replace(galaxy, companion=_draw_companion(rng, galaxy, 0.1, 1.1))
    elif disturbance == "minor-disturbance" and rng.random() < 0.5:
        galaxy = replace(galaxy, companion=_draw_companion(rng, galaxy, 1.6, 2.6))
    return galaxy


def _draw_companion(rng: np.random.Generator, main: Galaxy, least: float, most: float) -> Galaxy:
    """Draw a close galaxy at the same redshift, fainter by `least` to `most` magnitudes."""
    fainter = rng.uniform(least, most)
    other = _draw_one(rng, main.mag_r + fainter, "major-disturbance", main.redshift)
    size = main.half_light_radius * 10 ** (-0.2 * fainter) * rng.uniform(0.75, 1.1)
    angle = rng.uniform(0, 2 * np.pi)
    apart = main.half_light_radius * rng.uniform(1.0, 2.6) + 1.5
    return replace(
        other,
        half_light_radius=float(size),
        x_offset=float(main.x_offset + apart * np.cos(angle)),
        y_offset=float(main.y_offset + apart * np.sin(angle)),
        tails=1,
    )


def _draw_one(
    rng: np.random.Generator, mag: float, disturbance: str, redshift: float | None = None
) -> Galaxy:
    kind = "smooth" if rng.random() < SMOOTH_SHARE else "disc"
    redshift, absmag = _distance(rng, mag, redshift)
    t = _hubble(rng, absmag) if kind == "disc" else 1.0
    shape = _disc_shape(rng, t) if kind == "disc" else _smooth_shape(rng)
    typical = 4.2 * 10 ** (0.105 * (17 - mag)) * (1.24 if kind == "disc" else 0.9)
    radius = np.clip(typical * 10 ** rng.normal(0, 0.10), 2.6, 13.0)
    if kind == "smooth":  # limits the area on the sky, so that cigars are longer
        radius = min(radius * shape["axis_ratio"] ** -0.3, 9.5)
    disturbed = disturbance != "none"
    reddening = 0.9 * (redshift - 0.07)
    red_sequence = 0.79 - 0.022 * (absmag + 21) + reddening
    bluer = abs(rng.normal(0, 0.06)) + (rng.random() < 0.07) * rng.uniform(0.1, 0.3)
    g_r_old = red_sequence - bluer - 0.10 * (1 - t)
    return Galaxy(
        kind=kind,
        disturbance=disturbance,
        mag_r=float(mag),
        redshift=float(redshift),
        absmag_r=float(absmag),
        half_light_radius=float(radius),
        position_angle=float(rng.uniform(0, 180)),
        x_offset=float(rng.uniform(-0.131, 0.131)),
        y_offset=float(rng.uniform(-0.131, 0.131)),
        hubble=float(t),
        g_r_old=float(g_r_old),
        r_z_old=float(0.72 * g_r_old + 0.08 + rng.normal(0, 0.02)),
        g_r_young=float(rng.normal(0.26, 0.05) + 0.15 * t + reddening),
        r_z_young=float(rng.normal(0.23, 0.05) + 0.12 * t + 0.5 * reddening),
        lopsidedness=float(abs(rng.normal(0, 0.07)) + disturbed * rng.uniform(0.1, 0.4)),
        tails=_tails(rng, disturbance),
        shells=bool(kind == "smooth" and disturbed and rng.random() < 0.6),
        **shape,
    )


def _tails(rng: np.random.Generator, disturbance: str) -> int:
    if disturbance == "minor-disturbance":
        return int(rng.random() < 0.7)
    return int(rng.integers(1, 3)) if disturbance != "none" else 0


def _distance(rng: np.random.Generator, mag: float, redshift: float | None) -> tuple[float, float]:
    """Return redshift and absolute magnitude; H0 = 70 km/s/Mpc, to second order in redshift."""
    hubble_length = 4282.7  # Mpc
    if redshift is None:
        distance = 10 ** ((mag - rng.normal(-21.0, 0.7) - 25) / 5) / hubble_length
        redshift = (np.sqrt(1 + 4 * 0.775 * distance) - 1) / (2 * 0.775)
        redshift = float(np.clip(redshift, 0.02, 0.15))
    distance = hubble_length * redshift * (1 + 0.775 * redshift)
    return redshift, mag - 5 * np.log10(distance) - 25


def _hubble(rng: np.random.Generator, absmag: float) -> float:
    """Draw a place along the Hubble sequence; luminous discs are of earlier type."""
    return float(np.clip(rng.uniform(-0.08, 1.08) - 0.06 * (absmag + 21), 0, 1))


def _smooth_shape(rng: np.random.Generator) -> dict[str, object]:
    family = rng.choice(["round", "in-between", "cigar"], p=[0.37, 0.41, 0.22])
    low, high = {"round": (0.82, 1.0), "in-between": (0.42, 0.8), "cigar": (0.17, 0.36)}[family]
    cigar = family == "cigar"
    return {
        **_NO_DISC,
        "axis_ratio": float(rng.uniform(low, high)),
        "sersic_n": float(
            rng.uniform(1.0, 2.5) if cigar else np.clip(rng.normal(3.6, 1), 1.5, 5.5)
        ),
        "twist": float(rng.normal(0, 2 if cigar else 10)),
    }


_NO_DISC: dict[str, object] = {
    "bulge_fraction": 1.0, "inclination": 0.0, "thickness": 1.0, "young_fraction": 0.0,
    "bar_kind": "none", "bar_fraction": 0.0, "bar_length": 0.0, "bar_angle": 0.0,
    "arms": 0, "pitch": 0.0, "handedness": 0, "arm_strength": 0.0, "arm_phase": 0.0, "knots": 0,
    "flocculence": 0.0, "ring_fraction": 0.0, "ring_radius": 0.0, "edge_bulge": "none",
    "dust": 0.0,
}  # fmt: skip


def _disc_shape(rng: np.random.Generator, t: float) -> dict[str, object]:
    cosine = rng.random()
    inclination = float(np.degrees(np.arccos(cosine)))
    thickness = float(np.clip(rng.normal(0.16 + 0.05 * t, 0.03), 0.10, 0.28))
    bulge = float(np.interp(t, [0, 0.2, 0.5, 0.78, 0.92, 1], [0.0, 0.02, 0.12, 0.33, 0.5, 0.7]))
    bulge *= float(10 ** rng.normal(0, 0.08))
    has_arms = rng.random() > 0.16 + 0.30 * t**2
    arms = int(rng.choice([1, 2, 3, 4, 5], p=[0.06, 0.55, 0.18, 0.13, 0.08])) if has_arms else 0
    strong, weak = (0.28, 0.20) if has_arms else (0.42, 0.18)
    bar = str(rng.choice(["none", "weak", "strong"], p=[1 - strong - weak, weak, strong]))
    fraction, length = {
        "none": (0.0, 0.0),
        "weak": (rng.uniform(0.05, 0.10), rng.uniform(0.55, 0.95)),
        "strong": (rng.uniform(0.17, 0.30), rng.uniform(1.1, 1.8)),
    }[bar]
    ring = rng.random() < (0.10 if has_arms else 0.35)
    boxy = rng.random() < 0.3
    return {
        "axis_ratio": float(np.sqrt(cosine**2 * (1 - thickness**2) + thickness**2)),
        "sersic_n": float(np.clip(rng.normal(1.2 + 2.2 * t, 0.5), 0.8, 4.5)),
        "twist": 0.0,
        "bulge_fraction": min(bulge, 0.8),
        "inclination": inclination,
        "thickness": thickness,
        "young_fraction": float(np.clip(rng.normal(0.62 - 0.42 * t, 0.08), 0.08, 0.8)),
        "bar_kind": bar,
        "bar_fraction": float(fraction),
        "bar_length": float(length),
        "bar_angle": float(rng.uniform(0, 180)),
        "arms": arms,
        "pitch": float(np.clip(rng.normal(27.5 - 14.5 * t, 5.5), 8, 40)) if has_arms else 0.0,
        "handedness": int(rng.choice([-1, 1])) if has_arms else 0,
        "arm_strength": float(rng.uniform(0.45, 1.0)) if has_arms else 0.0,
        "arm_phase": float(rng.uniform(0, 360)),
        "knots": int(rng.poisson(22 * (1 - t) ** 1.5)),
        "flocculence": float(rng.uniform(0.12, 0.35) + 0.28 * (1 - t)),
        "ring_fraction": float(rng.uniform(0.08, 0.2)) if ring else 0.0,
        "ring_radius": float(max(length, rng.uniform(1.2, 2.4))) if ring else 0.0,
        "edge_bulge": "none" if bulge < 0.06 else "boxy" if boxy else "rounded",
        "dust": float(rng.uniform(1.5, 4.0)) if rng.random() < 0.6 else 0.0,
    }

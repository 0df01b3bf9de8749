"""The galaxies of the simulated sky: parameters drawn from correlated distributions.

The bulge fraction, pitch angle, colour and young light of a disc all follow one number, its place
along the Hubble sequence, with random deviations; sizes and luminosities follow the magnitude. All
parameters are continuous. The mix of types is that of a magnitude-limited Galaxy Zoo sample with
more disturbed galaxies, strong bars and edge-on lenticulars, so that each answer is populated in a
sample of two thousand.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from VAE_model.data.sky import close_pairs

MAG_BRIGHT, MAG_FAINT = 14.0, 17.8  # r
COUNTS_SLOPE = 0.26  # dex per magnitude, flatter than Euclidean: more bright galaxies
DISTURBED_SHARE = 0.24
RA_RANGE = (110.0, 260.0)
DEC_RANGE = (-5.0, 31.0)
OVERLAP_DEC_RANGE = (31.5, 33.3)  # the strip around Dec 32.375 deg that both surveys cover
MIN_SEPARATION = 120.0  # arcsec


@dataclass(frozen=True)
class Galaxy:
    """The true parameters of one galaxy: angles in degrees, lengths in arcsec, AB magnitudes.

    Position angles run from north through east. Fractions are of the total r flux.
    """

    kind: str  # spheroid, lenticular, spiral, irregular: all but spheroids are discs
    disturbance: float  # strength of an interaction, 0 to 1
    mag_r: float
    redshift: float
    absmag_r: float
    half_light_radius: float  # along the major axis
    position_angle: float
    x_offset: float  # of the centre from the middle of the cutout, to the right (west)
    y_offset: float  # and upwards (north)
    hubble: float  # 0 late to 1 early
    g_r_old: float  # colours of the old light (bulge, bar, spheroid)
    r_z_old: float
    g_r_young: float  # colours of the young light (arms, knots)
    r_z_young: float
    axis_ratio: float  # apparent, of the spheroid or the disc
    sersic_n: float  # of the spheroid or the bulge
    twist: float  # spheroids: angle between the core's and the envelope's position angles
    bulge_fraction: float
    inclination: float  # 0 face-on, 90 edge-on
    thickness: float  # intrinsic axis ratio
    young_fraction: float  # of the disc's light
    bar_strength: float  # 0 to 1; the next two follow it, with scatter
    bar_fraction: float
    bar_length: float  # in disc scale lengths
    bar_angle: float  # from the major axis, in the disc's plane
    arms: int
    pitch: float  # angle between arm and circle: small is tight
    handedness: int  # +1: going outwards, arms turn from north to east; -1: to west
    arm_strength: float  # 0 to 1
    arm_phase: float
    knots: int
    flocculence: float  # rms of the logarithm of the disc's texture
    ring_fraction: float
    ring_radius: float  # in disc scale lengths
    dust: float  # optical depth in r of the centre, face-on
    lopsidedness: float
    tails: int
    shell_fraction: float
    cluster_members: float  # expected number of field galaxies at the same redshift
    companion: "Galaxy | None" = None

    @property
    def scale_length(self) -> float:
        """Scale length of the disc, arcsec: half-light radius of an exponential over 1.678."""
        return self.half_light_radius / 1.678

    @property
    def scale_height(self) -> float:
        """Scale height of the old disc, arcsec, of a profile sech^2(z / height).

        With it an edge-on exponential disc has the axis ratio `thickness` by second moments.
        """
        return 1.91 * self.thickness * self.scale_length

    @property
    def bulge_axis_ratio(self) -> float:
        """Apparent axis ratio of the bulge, an oblate spheroid of intrinsic ratio 0.68."""
        return projected_axis_ratio(0.68, self.inclination)

    @property
    def boxiness(self) -> float:
        """Boxiness of the bulge, 0 to 1: a thick bar seen from its side in an inclined disc."""
        side_on = abs(np.cos(np.radians(self.bar_angle)))
        return float(self.bar_strength * side_on * expit((self.inclination - 75) / 4))

    def row(self) -> dict[str, object]:
        """Return one row of the truth table, with the main parameters of a companion."""
        values = asdict(replace(self, companion=None))
        values.pop("companion")
        other = self.companion
        values["boxiness"] = self.boxiness
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
    """Draw a galaxy; the more disturbed it is, the more often it has a companion."""
    span = 10 ** (COUNTS_SLOPE * (MAG_FAINT - MAG_BRIGHT))
    mag = MAG_BRIGHT + np.log10(1 + rng.random() * (span - 1)) / COUNTS_SLOPE
    if rng.random() < DISTURBED_SHARE:
        disturbance = float(rng.beta(1.2, 0.9))
    else:
        disturbance = float(rng.exponential(0.05))
    galaxy = _draw_one(rng, mag, min(disturbance, 1.0))
    if rng.random() < 0.75 * expit((galaxy.disturbance - 0.45) / 0.12):
        galaxy = replace(galaxy, companion=_draw_companion(rng, galaxy))
    return galaxy


def _draw_companion(rng: np.random.Generator, main: Galaxy) -> Galaxy:
    """Draw a close galaxy at the same redshift, up to 2.6 magnitudes fainter."""
    fainter = 0.1 + 2.5 * rng.random() ** 1.7
    other = _draw_one(rng, main.mag_r + fainter, 0.4 + 0.6 * main.disturbance, main.redshift)
    size = main.half_light_radius * 10 ** (-0.2 * fainter) * rng.uniform(0.75, 1.1)
    angle = rng.uniform(0, 2 * np.pi)
    apart = main.half_light_radius * rng.uniform(0.9, 2.8) + 1.5
    return replace(
        other,
        half_light_radius=float(size),
        x_offset=float(main.x_offset + apart * np.cos(angle)),
        y_offset=float(main.y_offset + apart * np.sin(angle)),
        tails=1,
    )


def _draw_one(
    rng: np.random.Generator, mag: float, disturbance: float, redshift: float | None = None
) -> Galaxy:
    irregular = 0.01 + 0.016 * np.clip(mag - MAG_BRIGHT, 0, 4)  # faint galaxies
    shares = [0.23, 0.17, 0.60 - irregular, irregular]
    kind = str(rng.choice(["spheroid", "lenticular", "spiral", "irregular"], p=shares))
    usual = -19.4 if kind == "irregular" else -21.0
    redshift, absmag = _distance(rng, mag, usual, redshift)
    t = _hubble(rng, absmag, kind)
    shape = _spheroid(rng) if kind == "spheroid" else _disc(rng, t, kind)
    typical = 4.2 * 10 ** (0.105 * (17 - mag)) * (1.24 if kind in ("spiral", "irregular") else 0.92)
    radius = float(np.clip(typical * 10 ** rng.normal(0, 0.10), 2.6, 13.0))
    if kind in ("spheroid", "lenticular"):  # limits the area on the sky: flat ones are longer
        radius = min(radius * float(shape["axis_ratio"]) ** -0.25, 11.0)
    reddening = 0.9 * (redshift - 0.07)
    g_r_old = red_sequence(absmag, redshift) - 0.10 * (1 - t) - abs(rng.normal(0, 0.06))
    if kind == "irregular" or rng.random() < 0.07:
        g_r_old -= rng.uniform(0.1, 0.3)
    off_centre = rng.uniform(0.25, 0.7) if kind == "irregular" else 0.0
    return Galaxy(
        kind=kind,
        disturbance=disturbance,
        mag_r=float(mag),
        redshift=float(redshift),
        absmag_r=float(absmag),
        half_light_radius=radius,
        position_angle=float(rng.uniform(0, 180)),
        x_offset=float(rng.uniform(-0.131, 0.131)),
        y_offset=float(rng.uniform(-0.131, 0.131)),
        hubble=float(t),
        g_r_old=float(g_r_old),
        r_z_old=float(0.72 * g_r_old + 0.08 + rng.normal(0, 0.02)),
        g_r_young=float(rng.normal(0.26, 0.05) + 0.15 * t + reddening),
        r_z_young=float(rng.normal(0.23, 0.05) + 0.12 * t + 0.5 * reddening),
        lopsidedness=float(
            abs(rng.normal(0, 0.07)) + 0.45 * disturbance * rng.random() + off_centre
        ),
        tails=min(int(rng.poisson(2.2 * np.clip(disturbance - 0.1, 0, 0.8))), 3),
        shell_fraction=float(
            0.13 * max(disturbance - 0.15, 0) * rng.random() * (kind in ("spheroid", "lenticular"))
        ),
        cluster_members=_cluster_members(rng, t),
        **shape,
    )


def red_sequence(absmag: float, redshift: float) -> float:
    """Return the observed g - r of old galaxies of an absolute magnitude in r."""
    return 0.79 - 0.022 * (absmag + 21) + 0.9 * (redshift - 0.07)


def _cluster_members(rng: np.random.Generator, t: float) -> float:
    """Draw the richness of the surroundings; early types live in groups and clusters."""
    in_group = rng.random() < 0.08 + 0.22 * t**2
    return float(rng.gamma(1.2, 6.0)) if in_group else 0.0


def _distance(
    rng: np.random.Generator, mag: float, usual: float, redshift: float | None
) -> tuple[float, float]:
    """Return redshift and absolute magnitude; H0 = 70 km/s/Mpc, to second order in redshift.

    usual: mean absolute magnitude.
    """
    hubble_length = 4282.7  # Mpc
    if redshift is None:
        distance = 10 ** ((mag - rng.normal(usual, 0.7) - 25) / 5) / hubble_length
        redshift = (np.sqrt(1 + 4 * 0.775 * distance) - 1) / (2 * 0.775)
        redshift = float(np.clip(redshift, 0.012, 0.15))
    distance = hubble_length * redshift * (1 + 0.775 * redshift)
    return redshift, mag - 5 * np.log10(distance) - 25


def _hubble(rng: np.random.Generator, absmag: float, kind: str) -> float:
    """Draw a place along the Hubble sequence; luminous discs are of earlier type."""
    if kind != "spiral":
        return {"irregular": 0.0, "lenticular": 0.95, "spheroid": 1.0}[kind]
    return float(np.clip(rng.uniform(-0.08, 1.08) - 0.06 * (absmag + 21), 0, 1))


def projected_axis_ratio(thickness: float, inclination: float) -> float:
    """Return the apparent axis ratio of an oblate body."""
    cosine = np.cos(np.radians(inclination))
    return float(np.sqrt(cosine**2 * (1 - thickness**2) + thickness**2))


def _within(rng: np.random.Generator, mean: float, std: float, low: float, high: float) -> float:
    """Draw from a Gaussian between limits."""
    while not low <= (value := rng.normal(mean, std)) <= high:
        pass
    return float(value)


def _spheroid(rng: np.random.Generator) -> dict[str, object]:
    """Draw an oblate spheroid of any flattening in a random orientation."""
    inclination = float(np.degrees(np.arccos(rng.random())))
    thickness = _within(rng, 0.57, 0.22, 0.25, 1.0)
    q = projected_axis_ratio(thickness, inclination)
    return {
        **_NO_DISC,
        "inclination": inclination,
        "thickness": thickness,
        "axis_ratio": q,
        "sersic_n": _within(rng, 3.2, 1.1, 1.2, 5.5),
        "twist": float(rng.normal(0, 10 * q)),
    }


_NO_DISC: dict[str, object] = {
    "bulge_fraction": 1.0, "young_fraction": 0.0, "bar_strength": 0.0, "bar_fraction": 0.0,
    "bar_length": 0.0, "bar_angle": 0.0, "arms": 0, "pitch": 0.0, "handedness": 0,
    "arm_strength": 0.0, "arm_phase": 0.0, "knots": 0, "flocculence": 0.0, "ring_fraction": 0.0,
    "ring_radius": 0.0, "dust": 0.0,
}  # fmt: skip


def _disc(rng: np.random.Generator, t: float, kind: str) -> dict[str, object]:
    """Draw a disc in a random orientation; lenticulars are nearer to edge-on than at random."""
    lenticular, irregular = kind == "lenticular", kind == "irregular"
    inclination = float(np.degrees(np.arccos(rng.random() ** (1.7 if lenticular else 1.0))))
    mean, std = (0.24, 0.05) if lenticular else (0.14 + 0.05 * t + 0.12 * irregular, 0.03)
    thickness = _within(rng, mean, std, 0.09, 0.4)
    bulge = np.interp(t, [0, 0.2, 0.5, 0.78, 1], [-2.2, -1.7, -1.0, -0.55, -0.27])  # log10
    bulge = 10 ** (bulge + rng.normal(0, 0.15))
    bulge /= (1 + (bulge / 0.8) ** 3) ** (1 / 3)  # less than 0.8
    bar = 0.0 if irregular or (lenticular and rng.random() < 0.8) else _bar_strength(rng)
    length = (0.45 + 1.1 * bar) * np.exp(rng.normal(0, 0.13))
    ring = rng.beta(1.0, 1.4) if rng.random() < (0.04 if lenticular or irregular else 0.2) else 0.0
    smooth = 0.12 if lenticular else 1.0  # share of the structure of a spiral
    young = _within(rng, 0.62 - 0.42 * t + 0.1 * irregular, 0.08, 0.05, 0.85)
    arms = int(rng.choice([1, 2, 3, 4, 5], p=[0.06, 0.55, 0.18, 0.13, 0.08]))
    strength = 0.15 * rng.random() if lenticular or irregular else _arm_strength(rng, t)
    clumps = 22 * (1 - t) ** 1.5 * (2.0 if irregular else smooth)
    return {
        "axis_ratio": projected_axis_ratio(thickness, inclination),
        "sersic_n": _within(rng, 1.2 + 2.2 * t, 0.5, 0.8, 4.5),
        "twist": 0.0,
        "bulge_fraction": float(bulge),
        "inclination": inclination,
        "thickness": thickness,
        "young_fraction": young * smooth,
        "bar_strength": float(bar),
        "bar_fraction": float(min(0.28 * bar**1.2 * np.exp(rng.normal(0, 0.12)), 0.36)),
        "bar_length": float(length * (bar > 0)),
        "bar_angle": float(rng.uniform(0, 180)),
        "arms": arms,
        "pitch": _within(rng, 29.5 - 19 * t, 6.0, 6, 42),
        "handedness": int(rng.choice([-1, 1])),
        "arm_strength": float(strength),
        "arm_phase": float(rng.uniform(0, 360)),
        "knots": int(rng.poisson(clumps)),
        "flocculence": float(smooth * (rng.uniform(0.12, 0.35) + 0.28 * (1 - t))),
        "ring_fraction": float(0.2 * ring),
        "ring_radius": float(max(length * (bar > 0), rng.uniform(1.2, 2.4)) * (ring > 0)),
        "dust": float(smooth * (0.25 + 0.75 * (1 - abs(2 * t - 0.8)))
                      * 1.1 * np.exp(rng.normal(0, 0.5))),
    }  # fmt: skip


def _bar_strength(rng: np.random.Generator) -> float:
    """Draw from no bar to the strongest; about half of all discs have none that shows."""
    return float(min(rng.exponential(0.06), 1)) if rng.random() < 0.4 else float(rng.beta(1.2, 0.8))


def _arm_strength(rng: np.random.Generator, t: float) -> float:
    """Draw the strength of the arms; those of early types are weaker."""
    weak = rng.random() < 0.14 + 0.32 * t**2
    return float(rng.beta(1.0, 4.0)) if weak else float(rng.beta(2.6, 1.3))

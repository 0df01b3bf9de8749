"""What the latents tell, as the report of a run shows it."""

from typing import Any

from VAE_model.report.page import Html, details, element, join, table
from VAE_model.report.run_outputs import Material
from VAE_model.report.score_tables import in_two_lines

_WHAT = {
    "quarter turns": "turned by quarters (exact pixels)",
    "mirrored": "mirrored",
    "any angle, interpolated": "turned by any angle (interpolated)",
    "part of a pixel, interpolated": "moved by part of a pixel (interpolated)",
}


def probe(material: Material) -> list[Html]:
    content = material.json(material.run.probe(material.num_var))
    if not content:
        return []
    parts = [_quantities(content), *_left_out(content), _moves(content)]
    parts += [_calibration(content)] if content["calibration"] else []
    return [*parts, details("Every latent", _latents(content))]


def _quantities(content: dict[str, Any]) -> Html:
    rows = []
    for name, of in content["quantities"].items():
        best = of["single"][of["best"]]
        shown = [in_two_lines(of[by]) for by in ("latents", "forest", "pca")]
        unit = element("small", f"{of['unit']}; by the {of['source']}")
        rows.append((join([name, unit]), of["n_train"], of["n_test"], *shown,
                     in_two_lines(best), of["best"]))  # fmt: skip
    n = content["dimension"]
    head = ["quantity", "train galaxies", "test galaxies", f"all {n} latents, ridge",
            "forest", f"PCA-{content['components']}, ridge", "one alone", "which"]  # fmt: skip
    words = (
        "R² on test galaxies with 95 % intervals of resampled test galaxies: 1 knows all, 0 is "
        "what always saying the training galaxies' mean gives. One alone: the latent that tells "
        "most of the training galaxies. Images with a defect flag are left out."
    )
    return table(head, rows, words)


def _left_out(content: dict[str, Any]) -> list[Html]:
    left_out = content["left_out"].items()
    words = "; ".join(f"{name} ({why})" for name, why in left_out)
    return [element("p", f"Left out: {words}.", class_="notice")] if words else []


def _moves(content: dict[str, Any]) -> Html:
    rows = [
        (_WHAT.get(name, name), of["n"], in_two_lines(of)) for name, of in content["moves"].items()
    ]
    words = (
        "Median distance that the latents move, over the median distance of two galaxies, with "
        "95 % intervals of resampled test galaxies. Another exposure shows what noise alone does."
    )
    return table(["the same galaxy", "test galaxies", "moves by"], rows, words)


def _calibration(content: dict[str, Any]) -> Html:
    names = {"noise": "same conditions, other noise", "night": "another night: seeing, depth, sky"}
    rows = [
        (names[kind], of["n"], of["views"], in_two_lines(of["median"]),
         f"{of['least']:.2f} to {of['most']:.2f}", in_two_lines(of["within"]))
        for kind, of in content["calibration"].items()
    ]  # fmt: skip
    head = ["exposures", "test galaxies", "views of each", "scatter over sigma, median latent",
            "range of the active latents", "within one sigma"]  # fmt: skip
    expected = min(of["expected"] for of in content["calibration"].values())
    words = (
        "Galaxies of the simulated sky, observed again: how far the posterior's mean scatters, in "
        f"units of the posterior's sigma (root mean squares). A sigma that is right gives "
        f"{expected:.2f}, and 0.68 of the differences of two views within one sigma of a "
        "difference; more scatter means that sigma promises too much."
    )
    return table(head, rows, words)


def _latents(content: dict[str, Any]) -> Html:
    names = list(content["quantities"])
    kinds = list(content["calibration"])
    rows = []
    for line in content["latents"]:
        told = [f"{line['r2_' + name.replace(' ', '_')]:.3f}".replace("-", "−") for name in names]
        ratios = [f"{line[f'ratio_{kind}']:.2f}" for kind in kinds]
        rows.append((line["latent"], f"{line['kl']:.2f}", f"{line['variance']:.3f}",
                     line["active"], f"{line['sigma']:.3f}", *ratios, *told))  # fmt: skip
    head = ["latent", "KL, nats", "variance of the mean", "active", "sigma",
            *(f"scatter over sigma, {kind}" for kind in kinds), *names]  # fmt: skip
    words = (
        f"Of {content['test_images']:,} test images, the latent with the most KL first; "
        f"{content['active']} are active (variance of the mean above 0.01, Burda et al. 2016), and "
        f"all carry {content['kl']:.1f} nats an image. Below each quantity: R² of a latent alone."
    )
    return table(head, rows, words)

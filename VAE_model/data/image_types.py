"""Classification of FITS HDUs by the words of their headers: images, masks, weights or PSFs.

IMAGETYP, EXTNAME and their relatives are free text ('IMAGE', 'object', 'Light Frame', 'SCI', 'dome
flat', 'INVVAR'). An HDU counts as an image unless one of these words says otherwise.
"""

import re

from astropy.io import fits

from VAE_model.data.astrometry import text_on_card

# Valid for the whole file too: a camera's primary header describes the extensions.
_TYPES = ("IMAGETYP", "IMTYPE", "IMGTYPE", "OBSTYPE", "FRAMETYP")
_NAMES = ("EXTNAME", "HDUCLAS2", "DES_EXT")

_BEFORE = "bad|data|dome|gal|inv|inverse|master|obj|object|psf|seg|sky|super|twi|twilight"
_WORDS = (
    # uncertainties and weights
    "ivar|var|variance|uncert|uncertainty|uncertaintie|unc|err|error|rms|sigma|stddev|stdev|noise|"
    "weight|wht|wgt|wt|"
    # masks
    "mask|maskbits|msk|bits|bitmask|dq|quality|flag|flg|bpm|seg|segm|segmentation|expmap|"
    # models and residuals
    "model|resid|residual|psf|prf|chi|chi2|chisq|"
    # depths and exposures
    "depth|nexp|nobs|exptime|expwt|coverage|cov|ctx|con|"
    # calibrations
    "bias|dark|flat|zero|background|bkg"
)
_AFTER = "map|image|img|frame|field|plane|size"
# 'bias subtracted', 'psf-matched', 'inverse variance weighted' describe an image.
_DONE = (
    "subtracted|corrected|fielded|matched|homogeni[sz]ed|convolved|deconvolved|weighted|removed|"
    "reduced|divided|applied|calibrated|cleaned|free|energy"
)
_NO_IMAGE = re.compile(
    rf"(?<![a-z0-9])(?:(?:{_BEFORE})?(?:{_WORDS})s?(?:{_AFTER})?s?|bad[ _-]?pix(?:el)?s?|"
    r"exposure[ _-]?(?:counts?|maps?|times?))\d*(?![a-z0-9])"
    rf"(?![ _-]*(?:(?:frame|field)s?[ _-]*)?(?:{_DONE})(?![a-z]))"
)
_INNOCENT = re.compile(r"\d+[ _-]?bits|(?:high|good|best|science)[ _-]quality")


def no_image(header: fits.Header, primary: fits.Header | None = None) -> str:
    """Return the header text that marks the pixels as no image, as "'INVVAR' (EXTNAME)".

    primary: the file's first header where that HDU has no pixels; it applies to every HDU whose own
    header does not state a type. Returns "" for an image.
    """
    for keyword in (*_TYPES, *_NAMES):
        text = text_on_card(header, keyword)
        if not text and primary is not None and keyword in _TYPES:
            text = text_on_card(primary, keyword)
        if says_no_image(text):
            return f"{text!r} ({keyword})"
    return ""


def says_no_image(text: str) -> bool:
    """Return whether a word of a free text means a mask, weight, model, PSF or calibration."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    return _NO_IMAGE.search(_INNOCENT.sub(" ", words)) is not None

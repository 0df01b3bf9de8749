"""Cells of parquet files that hold an image: their content as that of an image file."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.io import fits
from numpy.typing import NDArray

from VAE_model.data.cutout_writer import tangent_plane
from VAE_model.data.fits_bands import band_of
from VAE_model.data.fits_frames import BadCutout
from VAE_model.imports.importing import Job

PIXELS = ("flux", "array")  # of a struct, the first that it has


def is_list(kind: pa.DataType) -> bool:
    """Return True for lists of any kind."""
    types = pa.types
    return any((types.is_list(kind), types.is_large_list(kind), types.is_fixed_size_list(kind)))


def content_of(cell: pa.Scalar, job: Job, unit: str) -> bytes:
    """Return a cell as the bytes of an image file: the picture in it, or FITS of its arrays.

    job: the position of the image, which makes a WCS with the scale of the cell; unit: of the
    pixels, "" unknown. Raises BadCutout where the cell holds no image.
    """
    if isinstance(cell, pa.ExtensionScalar) and not isinstance(cell.type, pa.FixedShapeTensorType):
        cell = cell.value
    if not cell.is_valid:
        raise BadCutout("no image: the cell is empty")
    kind = cell.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        path, cell = cell.get("path"), cell["bytes"]
        if not cell.is_valid:
            said = f", only the path {path}" if path is not None and path.is_valid else ""
            raise BadCutout(f"no image: the cell has no bytes{said}")
    if isinstance(cell, pa.BinaryScalar):
        return cell.as_py()
    return _fits_of(_parts(cell), job, unit)


def _parts(cell: pa.Scalar) -> dict[str, Any]:
    """Return flux, band, scale and so on, each with one value per band."""
    if is_list(cell.type) and pa.types.is_struct(cell.type.value_type):
        return {one.name: cell.values.field(one.name) for one in cell.type.value_type}
    if not pa.types.is_struct(cell.type):
        tensor = isinstance(cell, pa.FixedShapeTensorScalar)
        return {"flux": cell.to_numpy() if tensor else pa.array([cell], cell.type)}
    parts = {}
    for name, value in cell.items():
        if value is not None and value.is_valid:
            parts[name] = value.values if is_list(value.type) else pa.array([value], value.type)
    return parts


def _fits_of(parts: dict[str, Any], job: Job, unit: str) -> bytes:
    name = next((name for name in PIXELS if name in parts), None)
    if name is None:
        raise BadCutout("no image: the cell has no flux")
    flux = _numbers(parts[name])
    while flux.ndim > 3 and len(flux) == 1:
        flux = flux[0]
    flux = flux[None] if flux.ndim == 2 else flux
    if flux.ndim != 3:
        raise BadCutout(f"wrong shape: {' x '.join(map(str, flux.shape))}, not bands of y by x")
    header = fits.Header({"BUNIT": unit} if unit else {})
    if "band" in parts:
        bands = [str(band or "?") for band in parts["band"].to_pylist()]
        if len(bands) != len(flux):
            raise BadCutout(f"wrong shape: {len(flux)} planes, and {len(bands)} names of bands")
        header["BANDS"] = " ".join(band_of(fits.Header({"BAND": one})) or "?" for one in bands)
    scales = _numbers(parts["scale"]).ravel() if "scale" in parts else np.array([])
    if np.ptp(scales) > 1e-4 * np.max(scales) if scales.size else False:
        shown = ", ".join(f"{scale:g}" for scale in scales)
        raise BadCutout(f"different grids: the bands have pixels of {shown} arcsec")
    height, width = flux.shape[1:]
    if scales.size and scales[0] > 0 and np.isfinite(job.ra) and np.isfinite(job.dec):
        header.update(tangent_plane(job.ra, job.dec, float(scales[0]), width))
        header["CRPIX2"] = (height + 1) / 2
    stream = io.BytesIO()
    fits.PrimaryHDU(flux, header).writeto(stream)
    return stream.getvalue()


def _numbers(array: pa.Array | NDArray) -> NDArray:
    """Return nested lists of numbers of one shape as one array; missing values are NaN.

    Raises BadCutout where the lists have different lengths, or hold no numbers.
    """
    if isinstance(array, np.ndarray):
        return array
    shape = [len(array)]
    while isinstance(array, pa.ExtensionArray) or is_list(array.type):
        if isinstance(array.type, pa.FixedShapeTensorType):
            made = array.to_numpy_ndarray()
            return made.reshape(*shape[:-1], *made.shape)
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
            continue
        lengths = pc.list_value_length(array).unique().to_pylist()
        if None in lengths or len(lengths) != 1:
            shown = " and ".join("no" if n is None else str(n) for n in lengths)
            raise BadCutout(f"wrong shape: rows or planes of {shown} values in one image")
        shape.append(lengths[0])
        array = array.flatten()
    made = array.to_numpy(zero_copy_only=False)
    if made.dtype.kind not in "fiu":
        raise BadCutout(f"not an image: pixels of type {array.type}")
    return made.reshape(shape)

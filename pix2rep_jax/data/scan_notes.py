"""Notes on how scans were read, one sentence for all scans that it holds for."""

from collections.abc import Collection, Iterable

from pix2rep_jax.wording import for_caller

__all__ = ["count_notes"]

NOTES = {
    "form_ignored": "a transform of the header (sform or qform) is not finite, "
    "singular or of an impossible size, so it was ignored",
    "size_by_affine": "pixdim is 0, 1,1,1 or impossible, so the voxel size was taken "
    "from the affine",
    "sizes_differ": "the voxel sizes of pixdim and of the affine differ by more than "
    "1 %, and those of pixdim were taken",
    "metres": "pixels measure less than 0.02 mm, so the header may be in metres: "
    "convert pixdim and affine to mm if it is",
    "micrometres": "pixels measure more than 20 mm, so the header may be in "
    "micrometres: convert pixdim and affine to mm if it is",
    "slope_ignored": "scl_slope is not finite, so the stored values were taken as they "
    "are",
    "no_pixel_size": "no pixel_sizes.csv (name, mm) lies in the folder or above "
    "it, so 1 px counts as 1 mm",
    "empty_channel": "a channel is the same almost everywhere, so it is 0 for the "
    "network",
    "slices_not_last": "slices were not taken along the file's third axis, because "
    "another one has length 1 or a larger spacing: if that is "
    "wrong, set --config.data.slice_axis",
    "turned": "slices lie along another axis of the file than in the scans that the "
    "network was trained on, so the scans were turned",
    "other_plane": "slices lie along another axis of the body than in the scans that "
    "the network was trained on",
    "other_ends": "rows and columns run to other ends of the body, by the affine, than "
    "in the scans that the network was trained on: if the affines are "
    "right, train with --config.data.orientation=canonical",
    "not_canonical": "the affine is missing, or oblique by more than 30 degrees, so "
    "data.orientation=canonical was not applied",
    "picture_for_nifti": "the grey levels are a picture's, and the network was trained "
    "on NIfTI: they must be those of such scans, with rows and columns in the same "
    "order",
    "nifti_for_pictures": "the grey levels are NIfTI's, and the network was trained on "
    "pictures: they must be those of such pictures, with rows and columns in the same "
    "order (NIfTI often stores them the other way round)",
}
"""What each key says."""


def count_notes(scans: Iterable[tuple[str, Collection[str]]]) -> list[str]:
    """Writes one sentence for each key, which counts the scans that have it.

    Args:
        scans: For each scan its name and its keys.
    """
    scans = list(scans)
    sentences = []
    for key, text in NOTES.items():
        names = [name for name, keys in scans if key in keys]
        if names:
            where = f"{len(names)} of {len(scans)} scans (such as {names[0]})"
            where = f"the scan {names[0]}" if len(scans) == 1 else where
            sentences.append(for_caller(f"note: in {where} {text}"))
    return sentences

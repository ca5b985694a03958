"""Goes through a video, with the files beside it and its flow, as the view of a network needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from twostream.data.dataset import AnyPath, same_length, same_shape
from twostream.data.decoding import TimedFrame, VideoError, camera_frames, count_frames, timed_frames
from twostream.data.flow import OpticalFlow
from twostream.data.windows import Step, View, steps
from twostream.options.streams import Stream


def frames_of(video: AnyPath | int, view: View) -> Iterator[TimedFrame]:
    """Returns the frames of a file, or of a camera by its number, in order; with motion vectors if the view has them.

    Raises `VideoError` if the video cannot be read.
    """
    if isinstance(video, int):
        return camera_frames(video)
    flow = flow_of(view)
    return timed_frames(video, motion=flow is not None and flow.from_video)


def flow_of(view: View) -> OpticalFlow | None:
    """Returns the flow of a view, or None if none of its streams is of flow."""
    return view.flow if any(stream.made == "flow" for stream in view.streams) else None


def files_beside(view: View, files: Mapping[str, AnyPath], what: str) -> dict[str, AnyPath]:
    """Returns {column: file} for the streams that have files of their own; `what` a network the messages are about.

    A network of such a stream alone needs none: the video is that file. Raises ValueError if one is missing.
    """
    columns = [stream.column for stream in view.streams if stream.column]
    if unknown := [name for name in files if name not in columns]:
        raise ValueError(f"stream {unknown[0]}: {what} has {', '.join(columns) or 'none'} from files")
    missing = [name for name in columns if name not in files]
    if missing and len(view.streams) > 1:
        raise ValueError(
            f"{what}: sees {missing[0]} beside the video: name its file, by --stream {missing[0]}=PATH or, "
            f"from Python, files={{'{missing[0]}': PATH}}"
        )
    return dict(files)


def check_lengths(video: AnyPath, files: Mapping[str, AnyPath]) -> None:
    """Raises `VideoError` if one of the other files has not as many frames as the video: all of them are decoded."""
    if files:
        same_length({path: count_frames(path) for path in (video, *files.values())})


def shown_steps(
    frames: Iterator[TimedFrame], view: View, files: Mapping[str, AnyPath], *, video: str
) -> Iterator[Step]:
    """Yields every frame with the motion to it and the same frame of the other `files`, {column: file}.

    `video`: the name of the video itself. Raises `VideoError` if another file has ended, or frames of another shape.
    """
    others = {column: timed_frames(path) for column, path in files.items()}
    for one in steps(frames, flow_of(view)):
        yield one._replace(others=beside(one, others, {"": video, **files}, view.streams))


def beside(
    step: Step, others: Mapping[str, Iterator[TimedFrame]], files: Mapping[str, AnyPath], streams: Sequence[Stream]
) -> dict[str, np.ndarray]:
    """Returns the frames of the other files at a step, by column; the video's own where a column has no file.

    `files`: {column: file}, "" for the video itself. Raises `VideoError` if a file has ended, and as `same_shape` does.
    """
    found = {stream.column: step.rgb for stream in streams if stream.column}
    for column, frames in others.items():
        if (frame := next(frames, None)) is None:
            raise VideoError(str(files[column]), "has fewer frames than the video that it goes with")
        found[column] = frame.rgb
        same_shape({files[""]: step.rgb.shape[:2], files[column]: frame.rgb.shape[:2]})
    return found

"""What a played server is filled with. Everything goes through the same doors as requests do, so it is all valid.

demo      some fifteen projects of every kind
losses    the projects on which geti-sdk 2.13 loses data, and no others
many:N    one detection project with N annotated images
none      nothing
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import ImageDraw

from sandbox.sc import configuration, projects, scenes
from sandbox.sc.film import film
from sandbox.sc.generations import Generation
from sandbox.sc.media import draw, new_path, take_image, take_video
from sandbox.sc.routes_models import trained
from sandbox.sc.world import Dataset, Json, Media, Project, World

SIZE = (320, 240)
AWKWARD = (
    "img [1]",
    "img [[]2]",
    "ünï cødé 猫",
    "50% #1 & co",
    "name.with.dots.jpg",
    " space at the start",
    "-dash",
    "CON",
    "quote'd",
    "a;b=c,d",
    "x" * 180,
    "star * question ?",
    "frame_0001",
)
PERSON = ("head", "left hand", "right hand", "left foot", "right foot")


def fill(world: World, generation: Generation, samples: str) -> None:
    many = re.fullmatch(r"many:(\d+)", samples)
    maker = Maker(world, generation)
    if samples == "demo":
        maker.demo()
    elif samples == "losses":
        maker.losses()
    elif many is not None:
        maker.many(int(many[1]))
    elif samples != "none":
        raise ValueError(f"no such samples: {samples} (there are demo, losses, many:N and none)")


@dataclass
class Maker:
    world: World
    generation: Generation

    # --- the doors ---------------------------------------------------------------------------------------------------

    def project(self, name: str, tasks: Sequence[Json], *, auto_training: bool = False) -> Project:
        """A project of these trainable tasks, with a crop task between two of them where the first has objects."""
        chain: list[Json] = [{"title": "Dataset", "task_type": "dataset"}]
        for number, task in enumerate(tasks):
            if number and tasks[0]["task_type"] not in projects.GLOBAL:
                chain.append({"title": "Crop task", "task_type": "crop"})
            chain.append(task)
        links = [{"from": a["title"], "to": b["title"]} for a, b in pairwise(chain)]
        body = {"name": name, "pipeline": {"connections": links, "tasks": chain}}
        made = projects.create(self.world, self.generation, body, self.world.workspaces[0].id)
        configuration.set_up(self.world, self.generation, made)
        for one in made.trainable:
            if not auto_training:
                configuration.auto_training(made, one)["value"] = False
                made.task_configs[one.id]["auto_training"][0]["value"] = False
        return made

    def dataset(self, project: Project, name: str) -> Dataset:
        dataset = Dataset(self.world.new_id(), name, self.world.now(), use_for_training=False)
        project.datasets.append(dataset)
        return dataset

    def image(
        self,
        dataset: Dataset,
        name: str,
        boxes: Iterable[tuple[float, float, float, float]] = (),
        size: tuple[int, int] = SIZE,
        extension: str = ".jpg",
    ) -> Media:
        """An image on which the boxes (x, y, width, height in pixels) are drawn."""

        def pen(tool: ImageDraw.ImageDraw) -> None:
            for x, y, width, height in boxes:
                tool.ellipse([x, y, x + width, y + height], fill=(30, 90, 160), outline=(240, 200, 60), width=2)

        kind = {".png": "PNG", ".bmp": "BMP", ".webp": "WEBP"}.get(extension, "JPEG")
        path = new_path(self.world)
        path.write_bytes(draw(len(dataset.media), size, pen, kind))
        media = take_image(self.world, path, name + extension, reencodes=self.generation.reencodes)
        dataset.media[media.id] = media
        return media

    def video(self, dataset: Dataset, name: str, frames: int, size: tuple[int, int] = (160, 120)) -> Media:
        pictures = [draw(number % 25, size) for number in range(min(frames, 25))]
        path = new_path(self.world)
        path.write_bytes(film([pictures[number % 25] for number in range(frames)], size))
        media = take_video(self.world, path, f"{name}.mp4")
        dataset.media[media.id] = media
        return media

    def annotate(
        self, project: Project, media: Media, objects: Sequence[tuple[Json, Sequence[str]]], frame: int = 0
    ) -> None:
        """`objects`: shapes in pixels, each with the names of its labels ("task/label" where a name is twice there)."""
        given = [
            {"shape": self.units(shape, media), "labels": [{"id": self.label(project, name)} for name in names]}
            for shape, names in objects
        ]
        kind = "video_frame" if media.kind == "video" else "image"
        scenes.take(self.world, self.generation, project, media, frame, {"annotations": given}, kind=kind)

    def predict(
        self, project: Project, media: Media, objects: Sequence[tuple[Json, str, float]], frame: int = 0
    ) -> None:
        media.predictions[frame] = [
            {
                "id": self.world.new_uuid(),
                "labels": [{"id": self.label(project, name), "probability": probability}],
                "shape": self.units(shape, media),
            }
            for shape, name, probability in objects
        ]

    def label(self, project: Project, name: str) -> str:
        title, _, short = name.rpartition("/")
        for task in project.trainable:
            for label in task.labels:
                if title in ("", task.title) and (label.name == short or (short == "EMPTY" and label.is_empty)):
                    return label.id
        raise KeyError(name)

    def units(self, shape: Json, media: Media) -> Json:
        """Pixels as this generation wants them."""
        if not self.generation.normalised:
            return shape
        across, down = media.width, media.height
        if "points" in shape:
            return shape | {"points": [{"x": p["x"] / across, "y": p["y"] / down} for p in shape["points"]]}
        by = {"x": across, "width": across, "y": down, "height": down}
        return {key: value / by[key] if key in by else value for key, value in shape.items()}

    # --- the projects ------------------------------------------------------------------------------------------------

    def demo(self) -> None:
        makers: list[Callable[[], None]] = [
            self.classes, self.several_classes, self.hierarchy, self.cars, self.leaves, self.cells, self.ships,
            self.anomaly, self.animals, self.dogs, self.untouched, self.awkward, self.twins,
        ]  # fmt: skip
        if self.generation.several_datasets:
            makers += [self.two_datasets, self.elsewhere]
        if self.generation.organizations:
            makers += [self.people]
        makers += [self.long_video]
        for make in makers:
            make()

    def losses(self) -> None:
        makers = [self.awkward, self.untouched, self.cars, self.long_video]
        if self.generation.several_datasets:
            makers += [self.two_datasets, self.elsewhere]
        if self.generation.organizations:
            makers += [self.people]
        for make in makers:
            make()

    def many(self, count: int) -> None:
        project = self.project("Many images", [detection("Objects", "box", "ball")])
        dataset = project.datasets[0]
        shared: list[Path] = []
        dice = random.Random(count)
        for number in range(count):
            if number < 20:
                media = self.image(dataset, f"image_{number:05d}", [(40, 40, 80, 60)])
                shared.append(media.path)
            else:
                media = Media(
                    self.world.new_id(),
                    f"image_{number:05d}",
                    "image",
                    ".jpg",
                    shared[number % 20],
                    *SIZE,
                    self.world.now(),
                )
                dataset.media[media.id] = media
            first = box(dice.randrange(0, 150), dice.randrange(0, 100), 80, 60)
            self.annotate(project, media, [(first, ["box"]), (box(200, 120, 60, 60), ["ball"])])

    def classes(self) -> None:
        labels = [label(name, "weather") for name in ("sunny", "rainy", "snowy")]
        project = self.project("Weather (one class each)", [task("Weather classification", "classification", labels)])
        for number in range(6):
            media = self.image(project.datasets[0], f"sky_{number}")
            self.annotate(project, media, [(full(media), [labels[number % 3]["name"]])])

    def several_classes(self) -> None:
        labels = [label("apple", "apple"), label("banana", "banana", "#ffd500ff", "b"), label("cherry", "cherry")]
        project = self.project("Fruit (several classes)", [task("Fruit bowl", "classification", labels)])
        sets = [["apple"], ["apple", "banana"], ["EMPTY"], ["apple", "banana", "cherry"]]
        for number, names in enumerate(sets):
            media = self.image(project.datasets[0], f"bowl {number}")
            self.annotate(project, media, [(full(media), names)])
        self.image(project.datasets[0], "bowl without annotation")

    def hierarchy(self) -> None:
        labels = [
            label("animal", "kind", "#10a010ff", "1"),
            label("plant", "kind", "#a01010ff", "2"),
            label("cat", "animals", parent="animal"),
            label("dog", "animals", parent="animal"),
            label("tree", "plants", parent="plant"),
            label("oak", "trees", parent="tree"),
            label("fir", "trees", parent="tree"),
        ]
        project = self.project("Living things (hierarchy)", [task("Kinds", "classification", labels)])
        for number, name in enumerate(("cat", "dog", "oak", "fir", "plant")):
            media = self.image(project.datasets[0], f"thing_{number}")
            self.annotate(project, media, [(full(media), [name])])

    def cars(self) -> None:
        """Objects, empty pictures, a video, models and predictions; a title and hotkeys of its own."""
        labels = [label("car", "vehicles", "#ff0000ff", "ctrl+1"), label("bus", "vehicles", "#00ff00ff", "ctrl+2")]
        project = self.project("Cars", [task("Find the vehicles", "detection", labels)])
        dataset = project.datasets[0]
        for number in range(5):
            boxes = [(20 + 30 * number, 60, 70, 40), (200, 140, 90, 60)]
            media = self.image(dataset, f"street_{number}", boxes)
            self.annotate(project, media, [(box(*boxes[0]), ["car"]), (box(*boxes[1]), ["bus"])])
            self.predict(project, media, [(box(*boxes[0]), "car", 0.91), (box(*boxes[1]), "bus", 0.67)])
        empty = self.image(dataset, "empty street")
        self.annotate(project, empty, [(full(empty), ["EMPTY"])])
        self.image(dataset, "not yet annotated")
        cleared = self.image(dataset, "annotations removed")
        self.annotate(project, cleared, [])
        drive = self.video(dataset, "drive", 40)
        for frame in (0, 7, 39):
            self.annotate(project, drive, [(box(10 + frame, 30, 40, 30), ["car"])], frame)
        self.predict(project, drive, [(box(10, 30, 40, 30), "car", 0.8)], 7)
        self.video(dataset, "never opened", 12)
        trained(self.world, project, project.trainable[0])

    def leaves(self) -> None:
        project = self.project("Leaves", [task("Outline", "segmentation", [label("leaf"), label("stem")])])
        for number in range(4):
            media = self.image(project.datasets[0], f"leaf_{number}", [(60, 50, 120, 90)], extension=".png")
            outline = polygon((60, 95), (120, 50), (180, 95), (120, 140))
            self.annotate(project, media, [(outline, ["leaf"]), (box(200, 20, 20, 150), ["stem"])])

    def cells(self) -> None:
        labels = [label("nucleus", color="#3366ccff"), label("wall")]
        project = self.project("Cells", [task("Cells", "instance_segmentation", labels)])
        for number in range(3):
            media = self.image(project.datasets[0], f"cell_{number}", [(50, 50, 60, 40)], extension=".bmp")
            oval = {"type": "ELLIPSE", "x": 50, "y": 50, "width": 60, "height": 40}
            self.annotate(project, media, [(oval, ["nucleus"]), (polygon((5, 5), (300, 9), (150.5, 200.25)), ["wall"])])

    def ships(self) -> None:
        project = self.project(
            "Ships", [task("Ships at an angle", "rotated_detection", [label("ship"), label("buoy")])]
        )
        for number in range(3):
            media = self.image(project.datasets[0], f"harbour_{number}", [(100, 80, 100, 40)])
            turned = {
                "type": "ROTATED_RECTANGLE",
                "x": 150,
                "y": 100,
                "width": 100,
                "height": 40,
                "angle": 33.5 * number,
            }
            self.annotate(project, media, [(turned, ["ship"])])
        media = self.image(project.datasets[0], "open sea")
        self.annotate(project, media, [(full(media), ["EMPTY"])])

    def anomaly(self) -> None:
        kind = (
            "anomaly"
            if self.generation.organizations and self.generation.numbers >= (2, 5)
            else "anomaly_classification"
        )
        project = self.project("Bottles (anomaly)", [task("Broken or not", kind, [])])
        normal, anomalous = (one.name for one in project.trainable[0].labels)
        for number in range(4):
            media = self.image(project.datasets[0], f"bottle_{number}")
            self.annotate(project, media, [(full(media), [anomalous if number == 3 else normal])])

    def animals(self) -> None:
        labels = [label(name, "species") for name in ("horse", "dog", "cat")]
        tasks = [detection("Detection", "animal"), task("Classification", "classification", labels)]
        project = self.project("Animals: detect, then classify", tasks)
        for number in range(4):
            media = self.image(project.datasets[0], f"meadow_{number}", [(40, 40, 80, 80), (180, 60, 90, 90)])
            first = (box(40, 40, 80, 80), ["animal", labels[number % 3]["name"]])
            second = (box(180, 60, 90, 90), ["animal"] if number == 3 else ["animal", "cat"])
            self.annotate(project, media, [first, second])

    def dogs(self) -> None:
        """Both tasks have a label of the same name."""
        tasks = [
            detection("Detection", "dog"),
            task("Segmentation", "segmentation", [label("dog", "shape"), label("tail", "shape")]),
        ]
        project = self.project("Dogs: detect, then outline", tasks)
        for number in range(3):
            media = self.image(project.datasets[0], f"dog_{number}", [(60, 60, 120, 90)])
            outline = polygon((70, 70), (170, 75), (160, 140), (80, 140))
            self.annotate(project, media, [(box(60, 60, 120, 90), ["Detection/dog"]), (outline, ["Segmentation/dog"])])

    def untouched(self) -> None:
        project = self.project("Nothing annotated", [detection("Detection", "thing")], auto_training=True)
        for number in range(3):
            self.image(project.datasets[0], f"raw_{number}")

    def awkward(self) -> None:
        """Names that are no good as file names, twice the same name, the same name for image and video."""
        project = self.project('Awkward: "names" / [of] *media*?', [detection("Task [1] / é", "läbel #1", "label/2")])
        dataset = project.datasets[0]
        for number, name in enumerate((*AWKWARD, "twice", "twice", "twice")):
            media = self.image(
                dataset, name, [(30, 30, 50 + number, 40)], extension=".png" if number % 3 == 2 else ".jpg"
            )
            self.annotate(project, media, [(box(30, 30, 50 + number, 40), ["läbel #1"])])
        both = self.video(dataset, "twice", 10)
        self.annotate(project, both, [(box(5, 5, 30, 30), ["läbel #1"])], 3)

    def twins(self) -> None:
        for number in range(2):
            project = self.project("Same name", [detection("Detection", "thing")])
            media = self.image(project.datasets[0], f"of_{number}")
            self.annotate(project, media, [(box(10, 10, 50 + number, 50), ["thing"])])

    def two_datasets(self) -> None:
        """The same media names in both."""
        project = self.project("Two datasets", [detection("Detection", "thing")])
        for dataset in (project.datasets[0], self.dataset(project, "Second / testing")):
            for number in range(3):
                boxes = [(20 + 10 * number, 30, 60 if dataset.use_for_training else 90, 50)]
                media = self.image(dataset, f"picture_{number}", boxes)
                self.annotate(project, media, [(box(*boxes[0]), ["thing"])])

    def elsewhere(self) -> None:
        """Nothing in the training data set, everything in another."""
        project = self.project("Media in a side dataset", [detection("Detection", "thing")])
        side = self.dataset(project, "Only here")
        for number in range(3):
            media = self.image(side, f"side_{number}")
            self.annotate(project, media, [(box(10, 10, 50, 50), ["thing"])])

    def people(self) -> None:
        spots = [(0.5, 0.1), (0.2, 0.5), (0.8, 0.5), (0.35, 0.95), (0.65, 0.95)]
        structure = {
            "edges": [{"nodes": [PERSON[0], other]} for other in PERSON[1:]],
            "positions": [{"label": name, "x": x, "y": y} for name, (x, y) in zip(PERSON, spots, strict=True)],
        }
        one = task("Poses", "keypoint_detection", [label(name) for name in PERSON])
        project = self.project("People (keypoints)", [one | {"keypoint_structure": structure}])
        for number in range(3):
            media = self.image(project.datasets[0], f"person_{number}")
            points = [
                {"type": "KEYPOINT", "x": round(x * 300), "y": round(y * 200), "is_visible": (number + n) % 4 != 0}
                for n, (x, y) in enumerate(spots)
            ]
            self.annotate(project, media, [(point, [name]) for point, name in zip(points, PERSON, strict=True)])

    def long_video(self) -> None:
        """620 annotated frames: more than one answer of the server holds."""
        project = self.project("Long video", [detection("Detection", "ball")])
        media = self.video(project.datasets[0], "match", 640)
        for frame in range(620):
            self.annotate(project, media, [(box(frame % 100, 20, 30, 30), ["ball"])], frame)


# --- what projects are made of ---------------------------------------------------------------------------------------


def label(
    name: str, group: str | None = None, color: str | None = None, hotkey: str = "", parent: str | None = None
) -> Json:
    made: Json = {"name": name}
    for key, value in (("group", group), ("color", color), ("hotkey", hotkey), ("parent_id", parent)):
        if value:
            made[key] = value
    return made


def task(title: str, task_type: str, labels: Sequence[Json]) -> Json:
    return {"title": title, "task_type": task_type, "labels": list(labels)}


def detection(title: str, *names: str) -> Json:
    return task(title, "detection", [label(name) for name in names])


def box(x: float, y: float, width: float, height: float) -> Json:
    return {"type": "RECTANGLE", "x": x, "y": y, "width": width, "height": height}


def full(media: Media) -> Json:
    return box(0, 0, media.width, media.height)


def polygon(*points: tuple[float, float]) -> Json:
    return {"type": "POLYGON", "points": [{"x": x, "y": y} for x, y in points]}

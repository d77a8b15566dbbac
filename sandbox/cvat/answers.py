"""The JSON shapes of the API, field for field as recorded from CVAT 2.54.1."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

from sandbox.cvat.annotations import Json
from sandbox.cvat.world import (
    AccessToken,
    Asset,
    AttributeSpec,
    Guide,
    Job,
    Label,
    Membership,
    Organization,
    Project,
    Task,
    User,
    World,
    iso,
)


class Answers:
    """Writes things of the world for one request: `base` is what its Host headers say the server is called."""

    def __init__(self, world: World, base: str) -> None:
        self.world = world
        self.base = base

    def user(self, user: User) -> Json:
        return {
            "url": f"{self.base}/api/users/{user.id}",
            "id": user.id,
            "username": user.username,
            "first_name": user.first_name,
            "last_name": user.last_name,
            "email": user.email,
            "groups": user.groups,
            "is_staff": user.is_staff,
            "is_superuser": user.is_superuser,
            "is_active": user.is_active,
            "last_login": iso(user.last_login),
            "date_joined": iso(user.date_joined),
            "has_analytics_access": user.has_analytics_access,
        }

    def basic_user(self, user_id: int | None) -> Json | None:
        user = self.world.users.get(user_id) if user_id is not None else None
        if user is None:
            return None
        return {
            "url": f"{self.base}/api/users/{user.id}",
            "id": user.id,
            "username": user.username,
            "first_name": user.first_name,
            "last_name": user.last_name,
        }

    def access_token(self, token: AccessToken) -> Json:
        return {
            "id": token.id,
            "name": token.name,
            "created_date": iso(token.created_date),
            "updated_date": iso(token.updated_date),
            "expiry_date": token.expiry_date,
            "last_used_date": iso(token.last_used_date),
            "read_only": token.read_only,
            "owner": self.basic_user(token.user_id),
        }

    def organization(self, org: Organization) -> Json:
        return {
            "id": org.id,
            "slug": org.slug,
            "name": org.name,
            "description": org.description,
            "created_date": iso(org.created_date),
            "updated_date": iso(org.updated_date),
            "contact": org.contact,
            "owner": self.basic_user(org.owner_id),
        }

    def membership(self, membership: Membership) -> Json:
        return {
            "id": membership.id,
            "user": self.basic_user(membership.user_id),
            "organization": membership.organization_id,
            "is_active": True,
            "joined_date": iso(membership.joined_date),
            "role": membership.role,
            "invitation": membership.invitation,
        }

    def invitation(self, membership: Membership) -> Json:
        org = self.world.organizations[membership.organization_id]
        return {
            "key": membership.invitation,
            "created_date": iso(membership.joined_date),
            "owner": self.basic_user(org.owner_id),
            "role": membership.role,
            "user": self.basic_user(membership.user_id),
            "organization": org.id,
            "expired": None,
            "organization_info": {"id": org.id, "slug": org.slug},
        }

    def project(self, project: Project) -> Json:
        tasks = self.world.tasks_of(project)
        return {
            "url": f"{self.base}/api/projects/{project.id}",
            "id": project.id,
            "name": project.name,
            "owner": self.basic_user(project.owner_id),
            "assignee": self.basic_user(project.assignee_id),
            "guide_id": project.guide_id,
            "bug_tracker": project.bug_tracker,
            "created_date": iso(project.created_date),
            "updated_date": iso(project.updated_date),
            "status": project.status,
            "dimension": tasks[0].dimension if tasks else None,
            "organization": project.organization_id,
            "organization_id": project.organization_id,
            "target_storage": project.target_storage,
            "source_storage": project.source_storage,
            "tasks": {"count": len(tasks), "url": f"{self.base}/api/tasks?project_id={project.id}"},
            "labels": {"url": f"{self.base}/api/labels?project_id={project.id}"},
            "assignee_updated_date": iso(project.assignee_updated_date),
            "task_subsets": sorted({task.subset for task in tasks if task.subset}),
        }

    def task(self, task: Task) -> Json:
        jobs = self.world.jobs_of(task)
        data = task.data
        answer: Json = {
            "url": f"{self.base}/api/tasks/{task.id}",
            "id": task.id,
            "name": task.name,
            "project_id": task.project_id,
            "mode": task.mode,
            "owner": self.basic_user(task.owner_id),
            "assignee": self.basic_user(task.assignee_id),
            "bug_tracker": task.bug_tracker,
            "created_date": iso(task.created_date),
            "updated_date": iso(task.updated_date),
            "overlap": task.overlap,
            "segment_size": task.segment_size,
            "status": task.status,
        }
        if data is not None:
            answer |= {
                "data_chunk_size": data.chunk_size,
                "data_original_chunk_type": data.original_chunk_type,
                "data_compressed_chunk_type": data.compressed_chunk_type,
                "data_cloud_storage_id": None,
            }
        answer["guide_id"] = task.guide_id
        if data is not None:
            # A task without data has none of these keys at all.
            answer |= {"size": data.size, "image_quality": data.image_quality, "data": data.id}
        return answer | {
            "dimension": task.dimension,
            "subset": task.subset,
            "organization_id": task.organization_id,
            "organization": task.organization_id,
            "target_storage": task.target_storage,
            "source_storage": task.source_storage,
            "jobs": {
                "count": len(jobs),
                "completed": sum(job.stage == "acceptance" and job.state == "completed" for job in jobs),
                "validation": sum(job.stage == "validation" for job in jobs),
                "url": f"{self.base}/api/jobs?task_id={task.id}",
            },
            "labels": {"url": f"{self.base}/api/labels?task_id={task.id}"},
            "assignee_updated_date": iso(task.assignee_updated_date),
            "validation_mode": task.validation.mode if task.validation else None,
            "consensus_enabled": task.consensus_replicas > 0,
        }

    def job(self, job: Job) -> Json:
        world = self.world
        task = world.tasks[job.task_id]
        project = world.project_of(task)
        data = task.data
        assert data is not None
        return {
            "url": f"{self.base}/api/jobs/{job.id}",
            "id": job.id,
            "task_id": task.id,
            "project_id": task.project_id,
            "assignee": self.basic_user(job.assignee_id),
            "guide_id": project.guide_id if project else task.guide_id,
            "dimension": task.dimension,
            "bug_tracker": (project.bug_tracker if project else task.bug_tracker)
            or (task.bug_tracker if project else None),
            "status": job.status,
            "stage": job.stage,
            "state": job.state,
            "mode": task.mode,
            "frame_count": len(job.frame_numbers),
            "start_frame": job.start_frame,
            "stop_frame": job.stop_frame,
            "data_chunk_size": data.chunk_size,
            "data_compressed_chunk_type": data.compressed_chunk_type,
            "data_original_chunk_type": data.original_chunk_type,
            "created_date": iso(job.created_date),
            "updated_date": iso(job.updated_date),
            "issues": {
                "url": f"{self.base}/api/issues?job_id={job.id}",
                "count": sum(issue["job"] == job.id for issue in world.issues.values()),
            },
            "labels": {"url": f"{self.base}/api/labels?job_id={job.id}"},
            "type": job.type,
            "organization": task.organization_id,
            "target_storage": None,
            "source_storage": None,
            "assignee_updated_date": iso(job.assignee_updated_date),
            "parent_job_id": job.parent_job_id,
            "consensus_replicas": sum(world.jobs[other].parent_job_id == job.id for other in task.job_ids)
            if task.consensus_replicas
            else 0,
        }

    def attribute(self, spec: AttributeSpec) -> Json:
        return {
            "id": spec.id,
            "name": spec.name,
            "mutable": spec.mutable,
            "input_type": spec.input_type,
            "default_value": spec.default_value,
            "values": spec.values,
        }

    def label(self, label: Label, project_id: int | None, task_id: int | None) -> Json:
        answer: Json = {
            "id": label.id,
            "name": label.name,
            "color": label.color,
            "attributes": [self.attribute(spec) for spec in label.attributes],
            "type": label.type,
            "sublabels": [
                {
                    "id": sublabel.id,
                    "name": sublabel.name,
                    "color": sublabel.color,
                    "attributes": [self.attribute(spec) for spec in sublabel.attributes],
                    "type": sublabel.type,
                    "has_parent": True,
                }
                for sublabel in label.sublabels
            ],
        }
        # A label belongs to a project or a task, and shows only the one key.
        answer |= {"project_id": project_id} if project_id is not None else {"task_id": task_id}
        answer |= {"parent_id": None, "has_parent": False}
        if label.type == "skeleton":
            answer["svg"] = label.svg
        return answer

    def labels_of(self, thing: Project | Task) -> list[Json]:
        project_id = thing.id if isinstance(thing, Project) else thing.project_id
        return [
            self.label(label, project_id, None if project_id is not None else thing.id)
            for label in self.world.labels_of(thing)
        ]

    def data_meta(self, task: Task, job: Job | None = None) -> Json:
        data = task.data
        assert data is not None
        frames = [
            {
                "width": frame.width,
                "height": frame.height,
                "name": frame.name,
                "related_files": frame.related_files,
                "has_related_context": frame.related_files > 0,
            }
            for frame in data.frames
        ]
        deleted = sorted(data.deleted_frames)
        size, start, stop, included = data.size, data.start_frame, data.stop_frame, None
        if job is not None:
            numbers = job.frame_numbers
            within = set(numbers)
            if data.kind == "images":
                frames = frames[job.start_frame : job.stop_frame + 1]
            deleted = [frame for frame in deleted if frame in within]
            size, start, stop = len(numbers), job.start_frame, job.stop_frame
            included = job.included_frames
            if included is not None:
                size = job.stop_frame - job.start_frame + 1
        return {
            "chapters": [] if data.kind == "video" else None,
            "chunks_updated_date": None if data.failed else iso(data.created_date),
            "chunk_size": data.chunk_size,
            "size": size,
            "image_quality": data.image_quality,
            "start_frame": start,
            "stop_frame": stop,
            "frame_filter": data.frame_filter,
            "frames": frames,
            "deleted_frames": deleted,
            "included_frames": included,
            "storage": "local",
            "cloud_storage_id": None,
        }

    def validation_layout(self, task: Task) -> Json:
        if task.validation is None:
            return {}
        return {
            "mode": task.validation.mode,
            "frames_per_job_count": None,
            "validation_frames": task.validation.frames,
            "disabled_frames": task.validation.disabled_frames,
        }

    def guide(self, guide: Guide, *, dates: bool = True) -> Json:
        answer: Json = {"id": guide.id, "task_id": guide.task_id, "project_id": guide.project_id}
        if dates:
            answer |= {"created_date": iso(guide.created_date), "updated_date": iso(guide.updated_date)}
        return answer | {"markdown": guide.markdown}

    def asset(self, asset: Asset) -> Json:
        return {
            "uuid": asset.uuid,
            "filename": asset.filename,
            "created_date": iso(asset.created_date),
            "owner": self.basic_user(asset.owner_id),
            "guide_id": asset.guide_id,
        }

    def issue(self, issue: Json) -> Json:
        count = sum(comment["issue"] == issue["id"] for comment in self.world.comments.values())
        return {
            "id": issue["id"],
            "frame": issue["frame"],
            "position": issue["position"],
            "job": issue["job"],
            "owner": self.basic_user(issue["owner_id"]),
            "assignee": self.basic_user(issue["assignee_id"]),
            "created_date": iso(issue["created_date"]),
            "updated_date": iso(issue["updated_date"]),
            "resolved": issue["resolved"],
            "comments": {"count": count, "url": f"{self.base}/api/comments?issue_id={issue['id']}"},
        }

    def comment(self, comment: Json) -> Json:
        return {
            "id": comment["id"],
            "issue": comment["issue"],
            "owner": self.basic_user(comment["owner_id"]),
            "message": comment["message"],
            "created_date": iso(comment["created_date"]),
            "updated_date": iso(comment["updated_date"]),
        }

    def webhook(self, webhook: Json) -> Json:
        # The secret can be set and never read.
        return {
            "id": webhook["id"],
            "url": f"{self.base}/api/webhooks/{webhook['id']}",
            "target_url": webhook["target_url"],
            "description": webhook["description"],
            "type": webhook["type"],
            "content_type": webhook["content_type"],
            "is_active": webhook["is_active"],
            "enable_ssl": webhook["enable_ssl"],
            "created_date": iso(webhook["created_date"]),
            "updated_date": iso(webhook["updated_date"]),
            "owner": self.basic_user(webhook["owner_id"]),
            "project_id": webhook["project_id"],
            "organization": webhook["organization"],
            "events": webhook["events"],
        }

    def about(self) -> Json:
        return {
            "name": "Computer Vision Annotation Tool",
            "description": "CVAT is completely re-designed and re-implemented version of Video Annotation Tool "
            "from Irvine, California tool. It is free, online, interactive video and image annotation tool for "
            "computer vision. It is being used by our team to annotate million of objects with different "
            "properties. Many UI and UX decisions are based on feedbacks from professional data annotation team.",
            "version": self.world.version,
            "logo_url": f"{self.base}/static/logo.svg",
            "subtitle": "Open Data Annotation Platform",
        }


def content_disposition(filename: str, kind: str = "attachment") -> str:
    """As the server writes it: the raw name as far as ASCII goes, and all of it as UTF-8 if that is not all."""
    name = re.sub(r"[\t\r\n]", " ", filename)
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    escaped = ascii_only.replace("\\", "\\\\").replace('"', '\\"')
    header = f'{kind}; filename="{escaped}"'
    return header if ascii_only == name else f"{header}; filename*=UTF-8''{quote(name)}"

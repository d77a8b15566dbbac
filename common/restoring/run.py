"""Several backups one after the other: one that fails does not keep the others from coming back."""

from __future__ import annotations

from collections.abc import Sequence

from common import log
from common.exits import Trouble
from common.progress import Display
from common.restoring.find import Chosen
from common.restoring.folder import refused
from common.restoring.order import Order, Restored, Target
from common.restoring.presence import ExistsAlready
from common.restoring.putting import put_back
from common.restoring.soundness import Refused


def restore_all(target: Target, chosen: Sequence[Chosen], order: Order, results: list[Restored]) -> None:
    """Adds to `results` what became of each, also before something ends the run. Raises what ends it."""
    with Display("restoring", len(chosen)) as display:
        for each in chosen:
            item = display.item(str(each))
            try:
                results.append(put_back(target, each, order, item.phase, item.bytes))
            except Trouble as error:
                outcome = "refused" if isinstance(error, Refused | ExistsAlready) else "failed"
                log.get().warning("restore_failed", what=str(each), reason=str(error))
                results.append(
                    Restored(each, outcome, each.kind or "project", each.name, reason=str(error), remedy=error.remedy)  # type: ignore[arg-type]
                )
            except OSError as error:
                # A journal of an earlier run as another user, for one. What is not about our folder is no such thing.
                if not str(error.filename2 or error.filename or "").startswith(f"{target.folder}/"):
                    raise
                ended = refused(target.folder, error)
                log.get().warning("restore_failed", what=str(each), reason=ended.why)
                results.append(
                    Restored(each, "failed", each.kind or "project", each.name, reason=ended.why, remedy=ended.remedy)
                )
            finally:
                item.close()
            display.advance()

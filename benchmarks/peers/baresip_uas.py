"""baresip as a callee that answers by itself, with its real media session per call: baresip_uas.py PORT.

G.711, no sound device; its audio runs through `aubridge`.
"""

from __future__ import annotations

import glob
import os
import sys
import tempfile
from pathlib import Path

CONFIG = """sip_listen 127.0.0.1:{port}
call_local_timeout 120
call_max_calls 0
audio_player aubridge,a
audio_source aubridge,a
audio_alert aubridge,b
module_path {modules}
module g711.so
module aubridge.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
"""


def main() -> None:
    folders = glob.glob("/usr/lib/baresip/modules") + glob.glob("/usr/lib/*/baresip/modules")
    if not folders:
        raise SystemExit("baresip is not installed")
    folder = Path(tempfile.mkdtemp(prefix="baresip"))
    (folder / "config").write_text(CONFIG.format(port=int(sys.argv[1]), modules=folders[0]))
    (folder / "accounts").write_text("<sip:service@127.0.0.1>;regint=0;answermode=auto\n")
    (folder / "contacts").write_text("")
    os.execvp("baresip", ["baresip", "-f", str(folder)])


if __name__ == "__main__":
    main()

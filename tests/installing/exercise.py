"""An installation by the page, then what an operator may expect of it: each step says what it saw, or raises."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import smtplib
import socket
import ssl
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.faults.ground import Copy, Receiver, closing, parsed
from tests.installing.machine import ORIGIN, WHEELS, Failed, Machine, done
from tests.installing.page import shown_under

HOST: Final = "zegel.example.org"
PORTAL: Final = "secure.example.org"
OWNER: Final = "beheer@example.org"
GUEST: Final = "balie@ontvanger.test"
ORGANISATION: Final = "Gemeente Voorbeeld"
PASSWORD: Final = "een-lange-zin-om-mee-in-te-gaan"
CONFIG: Final = "/etc/zegel/zegel.toml"
AS_ZEGEL: Final = f"runuser -u zegel -- env ZEGEL_CONFIG={CONFIG} zegel"
ROLES: Final = ("submission", "inbound", "dispatch", "web")
STATE: Final = "/var/lib/zegel"
LONGEST: Final = 120.0


def until(reached: Callable[[], bool], what: str, limit: float = LONGEST) -> None:
    """Waits for it; raises :class:`Failed` that tells what was waited for."""
    end = time.monotonic() + limit
    while not reached():
        if time.monotonic() > end:
            raise Failed(f"not within {limit:.0f} s: {what}")
        time.sleep(0.2)


def require(holds: bool, otherwise: str) -> None:
    """As ``assert``, with words for people."""
    if not holds:
        raise Failed(otherwise)


def certificate_for(name: str, folder: Path) -> Path:
    """Signed by itself, and new; the key lies beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    chain, key = folder / "fullchain.pem", folder / "privkey.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "60"]
    made += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(chain)]
    done(made)
    return chain


@dataclass(frozen=True, slots=True)
class MailServer:
    """Has credentials, and verifies the gateway's certificate for its name."""

    username: str
    password: str
    trusts: Path

    def client(self) -> smtplib.SMTP:
        """Signed in."""
        client = smtplib.SMTP(timeout=60)
        client.connect("127.0.0.1", 587)
        client._host = HOST  # type: ignore[attr-defined]
        client.starttls(context=ssl.create_default_context(cafile=str(self.trusts)))
        client.login(self.username, self.password)
        return client

    def submit(self, identity: str) -> None:
        """Got its 250."""
        with closing(self.client()) as client:
            head = f"From: Beheer <{OWNER}>\r\nTo: {GUEST}\r\nSubject: Proef {identity}\r\n"
            head += f"Message-ID: <{identity}@example.org>\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\n\r\n"
            client.sendmail(OWNER, [GUEST], head + f"De inhoud van {identity}.\r\n" * 40)


def page(door: socket.socket, path: str) -> tuple[int, str]:
    """What a browser without JavaScript sees there in the end; ``door`` is connected, and speaks TLS if it should."""
    connection, cookies = http.client.HTTPConnection(PORTAL, timeout=60), dict[str, str]()
    connection.sock = door
    with door:
        for _ in range(5):
            connection.request("GET", path, headers={"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())})
            answer = connection.getresponse()
            text = answer.read().decode()
            cookies |= dict(one.partition(";")[0].split("=", 1) for one in answer.headers.get_all("Set-Cookie", []))
            if answer.status not in (301, 302, 303):
                break
            path = answer.headers["Location"].removeprefix(f"https://{PORTAL}")
    return answer.status, text


def local_data(records: Sequence[str], mail_host: str) -> str:
    """Lines for unbound: the gateway's records and the receiving domain's."""
    lines = [f"{HOST}. A 127.0.0.1", f"{HOST}. TXT v=spf1 a -all", f"{PORTAL}. A 127.0.0.1"]
    lines += ["ontvanger.test. MX 10 mx.ontvanger.test.", f"mx.ontvanger.test. A {mail_host}", *records]
    told = "server:\n  local-zone: example.org. static\n  local-zone: ontvanger.test. static\n"
    for line in lines:
        name, kind, value = line.split(" ", 2)
        if kind == "TXT":  # a string holds 255 octets
            value = " ".join(f'"{piece}"' for piece in textwrap.wrap(value.strip('"'), 250, drop_whitespace=False))
        told += f"  local-data: '{name.rstrip('.')}. {kind} {value}'\n"
    return told


def records_in(printed: str) -> list[str]:
    """What a command tells to publish."""
    return [line for line in printed.splitlines() if " TXT " in line or " CNAME " in line]


def credentials_in(printed: str, trusts: Path) -> MailServer:
    """What `zegel credentials add` printed."""
    made = dict(line.split(": ", 1) for line in printed.splitlines() if ": " in line)
    return MailServer(made["username"], made["password"], trusts)


@dataclass(slots=True)
class Submissions:
    """What a mail server got its 250 for."""

    accepted: list[str] = field(default_factory=list)
    refused: int = 0


@dataclass(slots=True)
class Exercise:
    """``machine`` is on, and has nothing of Zegel yet. ``folder`` is for what stands around it."""

    machine: Machine
    folder: Path
    receiver: Receiver
    mail_server: MailServer = field(init=False)

    # --- by the page

    def programs(self) -> str:
        (block,) = shown_under("1. Programs")
        self.machine.done(
            block.replace("URL-OF-THIS-REPOSITORY", ORIGIN),
            DEBIAN_FRONTEND="noninteractive",
            PIP_NO_INDEX="1",
            PIP_FIND_LINKS=WHEELS,
            GIT_CONFIG_COUNT="1",
            GIT_CONFIG_KEY_0="safe.directory",
            GIT_CONFIG_VALUE_0="*",
        )
        return self.machine.done("zegel --version").strip()

    def user_and_folders(self) -> str:
        for block in shown_under("2. A user and its folders"):
            self.machine.done(block)
        return self.machine.done("id zegel; stat -c '%U %a %n' /etc/zegel /var/lib/zegel /srv/zegel-erasures").strip()

    def first_start(self) -> str:
        """With files for a certificate, since no authority reaches this machine."""
        self.renew_certificate()
        command = shown_under("3. Set it up")[0].strip()
        require("--acme --agree-to-terms" in command, "the page shows another command than this was made for")
        files = "--certificate /etc/zegel/fullchain.pem --certificate-key /etc/zegel/privkey.pem"
        answers = f"--hostname {HOST} --organisation '{ORGANISATION}' --domain example.org --administrator {OWNER}"
        rest = f"--password {PASSWORD} --portal-url https://{PORTAL}"
        printed = self.machine.done(f"{command.replace('--acme --agree-to-terms', files)} {answers} {rest}")
        self.publish(records_in(printed))
        # Port 25 of 127.0.0.1 is the receiving server's here.
        section = shown_under("3. Set it up")[1].replace("0.0.0.0:25", "127.0.0.2:25")
        require(section.startswith("[inbound]\n"), "the page shows another section than this was made for")
        path = self.machine.root / CONFIG[1:]
        path.write_text(path.read_text().replace("[inbound]\n", section))
        return printed.splitlines()[0]

    @property
    def trusted(self) -> Path:
        return self.folder / "trusted.pem"

    def renew_certificate(self) -> None:
        chain = certificate_for(HOST, self.machine.root / "srv/renewed")
        self.machine.done("install -o zegel -g zegel -m 0400 -t /etc/zegel /srv/renewed/*.pem")
        shutil.copy(chain, self.trusted)

    def publish(self, records: list[str]) -> None:
        (self.machine.root / "etc/unbound/unbound.conf.d/try.conf").write_text(local_data(records, "127.0.0.1"))
        self.machine.done("unbound-checkconf && systemctl restart unbound")

    def portal(self) -> str:
        (site,) = (one for one in shown_under("4. The portal") if one.startswith("server {"))
        certificate_for(PORTAL, self.machine.root / "etc/letsencrypt/live" / PORTAL)
        (self.machine.root / "etc/nginx/sites-enabled/zegel").write_text(site)
        for block in shown_under("4. The portal"):
            if block is not site and not block.startswith("server {"):
                self.machine.done(block)
        self.machine.done("nginx -t && systemctl reload nginx")
        return "nginx has the page's site"

    def service(self) -> str:
        copying, dropped, enabling = shown_under("5. The service")
        copied, edited = copying.strip().splitlines()
        require(edited == "systemctl edit zegel", "the page shows another command than this was made for")
        self.machine.done(copied)
        (self.machine.root / "srv/dropped").write_text(dropped)
        editor = self.machine.root / "srv/editor"
        editor.write_text('#!/bin/sh\nsed -i "/^### Anything between/r /srv/dropped" "$1"\n')
        editor.chmod(0o755)
        for unit in ("zegel", "zegel-backup"):
            self.machine.done(f"script -qec 'systemctl edit {unit}' /dev/null", SYSTEMD_EDITOR="/srv/editor")
            require(
                "/srv/zegel-erasures" in self.machine.shown(unit, "ReadWritePaths"), f"{unit} does not see the journal"
            )
        self.machine.done(enabling)
        self.is_well()
        return self.machine.done(
            "systemctl status --no-pager --lines=0 zegel; systemctl list-timers --no-pager 'zegel*'"
        )

    def checks(self) -> str:
        self.machine.done(f"test -s {STATE}/zegel-keys.tar && mv {STATE}/zegel-keys.tar /srv/")
        checked, doctor = shown_under("6. Is all well?")[0].strip().splitlines()
        self.machine.done(checked)
        told = self.machine.tried(doctor).stdout
        bad = [line for line in told.splitlines() if line.startswith("BAD")]
        # Nothing outside is reached, so nothing that the root signed.
        require(all("resolver" in line for line in bad), f"doctor found {bad}")
        return "\n".join(line for line in told.splitlines() if not line.startswith(" "))

    def credentials(self) -> str:
        printed = self.machine.done(f"{AS_ZEGEL} credentials add server --organisation '{ORGANISATION}'")
        self.mail_server = credentials_in(printed, self.trusted)
        return self.mail_server.username

    # --- what may be expected

    def is_well(self) -> None:
        """Running, and every door of it answers."""
        state = self.machine.tried("systemctl is-active zegel").stdout.strip()
        if state != "active":
            raise Failed(f"zegel is {state}:\n{self.machine.done('journalctl -u zegel -n 30 --no-pager -o cat')}")
        until(lambda: self.machine.tried(f"{AS_ZEGEL} alive").returncode == 0, "every door answers")

    def rights(self) -> str:
        main = int(self.machine.shown("zegel", "MainPID"))
        uid = self.machine.done("id -u zegel").strip()
        processes = {"main": main, **self.machine.children(main)}
        require(set(processes) >= set(ROLES), f"only {sorted(processes)} run")
        for name, pid in processes.items():
            status = dict(re.findall(r"^(\w+):\s*(.*)$", self.machine.done(f"cat /proc/{pid}/status"), re.MULTILINE))
            require(status["Uid"].split() == [uid] * 4, f"{name} runs as {status['Uid']}")
            wanted = {"CapEff": "0000000000000400", "CapBnd": "0000000000000400", "NoNewPrivs": "1", "Seccomp": "2"}
            seen = {key: status[key] for key in wanted}
            require(seen == wanted, f"{name} has {seen}")
        return f"{', '.join(sorted(processes))}: uid {uid}, CAP_NET_BIND_SERVICE alone, filtered system calls"

    def doors(self) -> str:
        told = self.machine.done("ss -Hltnp | awk '{print $4, $6}'")
        ports = sorted(re.findall(r"^(\S+) .*(?:zegel|python)", told, re.MULTILINE))
        require("0.0.0.0:587" in ports and "127.0.0.2:25" in ports, f"listening: {told}")
        return " ".join(dict.fromkeys(ports))

    def message(self) -> str:
        """A notification comes to the receiving server, and its link opens through nginx."""
        before = len(self.receiver.copies)
        self.mail_server.submit("eerste")
        until(lambda: len(self.receiver.copies) > before, "a notification")
        link = link_in(self.receiver.copies[-1])
        status, text = self.page(link)
        require(status == 200 and "Traceback" not in text, f"the link gives {status}")
        return f"250 over TLS; notification for {self.receiver.copies[-1].recipient}; its link: {status}"

    def page(self, path: str) -> tuple[int, str]:
        """Through nginx, as a browser that trusts its certificate."""
        chain = self.machine.root / "etc/letsencrypt/live" / PORTAL / "fullchain.pem"
        context = ssl.create_default_context(cafile=str(chain))
        return page(context.wrap_socket(socket.create_connection(("127.0.0.1", 443)), server_hostname=PORTAL), path)

    def sandbox(self) -> str:
        """Another program under the unit's restrictions: what it needs is there, what it must not do is not."""
        unit = self.machine.done("cat /etc/systemd/system/zegel.service")
        for old, new in (
            (r"^ExecStart=.*$", "ExecStart=/opt/zegel/venv/bin/python /srv/within.py"),
            (r"^Type=.*$", "Type=oneshot"),
            (r"^(Restart|ExecReload|NotifyAccess).*$\n", ""),
        ):
            unit = re.sub(old, new, unit, flags=re.MULTILINE)
        (self.machine.root / "etc/systemd/system/zegel-within.service").write_text(unit)
        shutil.copy(Path(__file__).with_name("within.py"), self.machine.root / "srv/within.py")
        self.machine.done("cp -a /etc/systemd/system/zegel.service.d /etc/systemd/system/zegel-within.service.d")
        ran = self.machine.tried("systemctl daemon-reload; systemctl start zegel-within")
        told = self.machine.done("journalctl -u zegel-within --no-pager -o cat")
        require(ran.returncode == 0, told)
        return "\n".join(line for line in told.splitlines() if line.startswith("- "))

    def log(self) -> str:
        lines = self.machine.done("journalctl -u zegel --no-pager -o cat _UID=$(id -u zegel)").splitlines()
        events = []
        for line in lines:
            with suppress(json.JSONDecodeError):
                events.append(json.loads(line))
        require(len(events) == len(lines), f"the journal has lines of another kind: {lines}")
        names = {str(one.get("event")) for one in events}
        require({"started", "submission_accepted"} <= names, f"the journal has the events {sorted(names)}")
        return f"{len(events)} events of {len(lines)} lines: {', '.join(sorted(names))}"

    def reload(self) -> str:
        """A new certificate is shown at once, and nothing was restarted."""
        before, main = self.shown_certificate(), self.machine.shown("zegel", "MainPID")
        self.renew_certificate()
        self.machine.done("systemctl reload zegel")
        until(lambda: self.shown_certificate() != before, "the new certificate", 25)
        require(self.machine.shown("zegel", "MainPID") == main, "it was restarted")
        arrived = len(self.receiver.copies)
        self.mail_server.submit("na-vernieuwen")
        until(lambda: len(self.receiver.copies) > arrived, "a notification")
        return "the new certificate is shown, by the same process"

    def shown_certificate(self) -> bytes:
        with smtplib.SMTP("127.0.0.1", 587, timeout=60) as client:
            client.starttls(context=ssl._create_unverified_context())
            assert isinstance(client.sock, ssl.SSLSocket)
            return client.sock.getpeercert(binary_form=True) or b""

    def restart(self) -> str:
        return self._nothing_lost("herstart", lambda: self.machine.done("systemctl restart zegel"))

    def killed(self) -> str:
        """Each role, then the supervisor itself."""
        return self._nothing_lost("gedood", self._kill_each)

    def _kill_each(self) -> None:
        main = int(self.machine.shown("zegel", "MainPID"))
        for role in ROLES:
            before = self.machine.children(main)[role]
            self.machine.done(f"kill -KILL {before}")
            until(lambda role=role, before=before: self.machine.children(main).get(role, before) != before, role)  # type: ignore[misc]
            self.is_well()
        self.machine.done(f"kill -KILL {main}")
        until(lambda: self.machine.shown("zegel", "MainPID") not in ("0", str(main)), "systemd starts it again")
        until(lambda: self.machine.tried("systemctl is-active --quiet zegel").returncode == 0, "it is ready again")
        self.is_well()

    def _nothing_lost(self, name: str, happens: Callable[[], object]) -> str:
        """While mail comes in. What got its 250 is in the evidence, and each has its notification."""
        before, earlier = self.notified(), len(self.receiver.copies)
        with self._mail_comes_in(name) as sent:
            time.sleep(3)
            happens()
            taken = len(sent.accepted)
            until(lambda: len(sent.accepted) > taken + 3, "mail is accepted again")
        self.is_well()
        known = {str(one["message_id"]).strip("<>").partition("@")[0] for one in self.evidence()}
        lost = [one for one in sent.accepted if one not in known]
        require(not lost, f"accepted, and not known: {lost}")
        until(lambda: len(self.notified() - before) >= len(sent.accepted), "a notification of each")
        more = sum(one.startswith(f"{name}-") and one not in sent.accepted for one in known)
        twice = len(self.receiver.copies) - earlier - len(self.notified() - before)
        told = f"{len(sent.accepted)} accepted, {sent.refused} tries without a reply or put off, none lost"
        return f"{told}; {twice} notifications came twice" + (
            f"; {more} were taken although their 250 did not arrive" if more else ""
        )

    def notified(self) -> set[str]:
        """The links that arrived: one for each message."""
        return {link_in(copy) for copy in self.receiver.copies}

    @contextmanager
    def _mail_comes_in(self, name: str) -> Iterator[Submissions]:
        sent, ends = Submissions(), threading.Event()

        def go_on() -> None:
            number = 0
            while not ends.is_set():
                identity = f"{name}-{number}"
                try:
                    self.mail_server.submit(identity)
                    sent.accepted.append(identity)
                    number += 1
                except (OSError, smtplib.SMTPException):
                    sent.refused += 1
                    number += 1
                    time.sleep(0.2)

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield sent
        finally:
            ends.set()
            thread.join()

    def evidence(self) -> list[dict[str, Any]]:
        printed = self.machine.done(f"{AS_ZEGEL} evidence 2>/dev/null")
        return [json.loads(line) for line in printed.splitlines()]

    def backup(self) -> str:
        """By its service, as the timer starts it; `zegel restore` reads what it made."""
        self.machine.done("systemctl start zegel-backup")
        (made,) = self.machine.done("ls -d /var/backups/zegel/*").split()
        told = self.machine.done(
            f"""
            install -d -o zegel -g zegel -m 0700 /srv/elsewhere
            sed 's#^folder = .*#folder = "/srv/elsewhere"#; s#^erasures = .*##' {CONFIG} >/srv/elsewhere.toml
            chown zegel: /srv/elsewhere.toml
            cp /srv/zegel-keys.tar /srv/keys.tar && chown zegel: /srv/keys.tar
            other="runuser -u zegel -- env ZEGEL_CONFIG=/srv/elsewhere.toml zegel"
            $other keys restore /srv/keys.tar
            install -o zegel -g zegel -m 0600 /srv/zegel-erasures/erasures /srv/elsewhere/erasures
            $other restore {made}
            $other evidence 2>/dev/null | wc -l
            """
        )
        restored, there = int(re.findall(r"^\d+$", told, re.MULTILINE)[-1]), len(self.evidence())
        require(restored == there, f"{restored} messages restored, {there} are there")
        self.machine.done("rm -r /srv/elsewhere /srv/elsewhere.toml /srv/keys.tar")
        return f"{made}; restored elsewhere: {restored} messages"

    def wrong_setting(self) -> str:
        """It ends with 78, is not started again, and the log says which."""
        self.machine.done(f"cp -p {CONFIG} /srv/right.toml; sed -i 's/^hostname/hostnam/' {CONFIG}")
        require(self.machine.tried("systemctl restart zegel").returncode != 0, "it started with a wrong setting")
        time.sleep(8)  # longer than RestartSec=
        status, tries = self.machine.shown("zegel", "ExecMainStatus"), self.machine.shown("zegel", "NRestarts")
        require((status, self.machine.tried("systemctl is-active zegel").stdout.strip()) == ("78", "failed"), status)
        said = self.machine.done("journalctl -u zegel -n 20 --no-pager -o cat")
        require("hostnam" in said, f"the journal says {said}")
        self.machine.done(f"cp -p /srv/right.toml {CONFIG}; systemctl start zegel")
        self.is_well()
        return f"exit code 78, started again {tries} times; said: " + next(
            line for line in said.splitlines() if "hostnam" in line
        )

    def stop(self) -> str:
        began = time.monotonic()
        self.machine.done("systemctl stop zegel")
        took = time.monotonic() - began
        result = self.machine.shown("zegel", "Result")
        require(result == "success", f"systemd says {result}")
        self.machine.done("systemctl start zegel")
        self.is_well()
        return f"{result}, after {took:.1f} s"

    def reboot(self) -> str:
        """What is enabled comes by itself, and knows what it knew."""
        before = len(self.evidence())
        self.machine.off()
        self.machine.start()
        until(lambda: self.machine.tried("systemctl is-active --quiet zegel").returncode == 0, "it starts by itself")
        self.is_well()
        require(len(self.evidence()) == before, "messages were lost")
        arrived = len(self.receiver.copies)
        self.mail_server.submit("na-opnieuw-opstarten")
        until(lambda: len(self.receiver.copies) > arrived, "a notification")
        return f"running; {before} messages as before, and a new one is delivered"

    def upgrade(self) -> str:
        """To a version with a newer database, and back."""
        (self.folder / "next").mkdir()
        version = next_version(self.folder / "next", Path(self.machine_origin()))
        before = len(self.evidence())
        commands, back = shown_under("Upgrading")
        variables = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS, "GIT_CONFIG_COUNT": "1"}
        variables |= {"GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        self.machine.done(commands, **variables)
        self.is_well()
        require(len(self.evidence()) == before, "messages were lost")
        require(version in self.machine.done("zegel --version"), "it is not the new version")
        installing = commands.partition("git pull\n")[2].partition("systemctl start")[0]
        self.machine.done(f"systemctl stop zegel\ngit checkout --quiet HEAD~1\n{installing}", **variables)
        require(self.machine.tried("systemctl start zegel").returncode != 0, "the older version took the database")
        require(self.machine.shown("zegel", "ExecMainStatus") == "78", "it did not say why")
        self.machine.done(f"{back}\nsystemctl start zegel")
        self.is_well()
        require(len(self.evidence()) == before, "messages were lost on the way back")
        return f"{version}, {before} messages kept; the older version refused its database, and has them again"

    def machine_origin(self) -> str:
        return str(self.folder / "zegel.git")

    def exposure(self) -> str:
        told = [
            self.machine.done(f"systemd-analyze security {one}.service --no-pager | tail -1").strip()
            for one in ("zegel", "zegel-backup")
        ]
        return "\n".join(told)


def next_version(folder: Path, origin: Path) -> str:
    """A commit on top of what is in ``origin``: another version number, and a migration that adds a table."""
    tree = folder / "tree"
    done(["git", "clone", "--quiet", str(origin), str(tree)])
    program = tree / "zegel/__init__.py"
    version = re.sub(r'^VERSION = "([^"]+)"', r'VERSION = "\1.post1"', program.read_text(), flags=re.MULTILINE)
    program.write_text(version)
    (number,) = re.findall(r'^VERSION = "([^"]+)"', version, re.MULTILINE)
    migrations = tree / "zegel/accounts/migrations"
    leaf = max(one.stem for one in migrations.glob("0*.py"))
    (migrations / f"{int(leaf[:4]) + 1:04d}_next.py").write_text(
        "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n"
        f'    dependencies = [("accounts", "{leaf}")]\n'
        '    operations = [migrations.RunSQL("CREATE TABLE next_version (number INTEGER)")]\n'
    )
    who = ["-c", "user.name=try", "-c", "user.email=try@example.org"]
    done(["git", "-C", str(tree), "add", "--all"])
    done(["git", "-C", str(tree), *who, "commit", "--quiet", "--message", "The next version"])
    done(["git", "-C", str(tree), "push", "--quiet", "origin", "HEAD"])
    return str(number)


def link_in(copy: Copy) -> str:
    """The path of the link in a notification."""
    body = parsed(copy.octets).get_body(("plain",))
    found = re.search(rf"https://{PORTAL}(/m/[A-Za-z0-9_-]{{43}})", str(body.get_content())) if body else None
    if found is None:
        raise Failed("a mail without a link arrived")
    return found[1]

"""The installed package: its licenses and its description."""

import re
from importlib import metadata


def test_the_license_texts_are_installed():
    files = {file.name: file for file in metadata.files("vkview") if "licenses" in file.parts}
    for name, text in [("LICENSE-MIT", "Permission is hereby granted"), ("LICENSE-APACHE", "TERMS AND CONDITIONS")]:
        assert text in files[name].read_text()


def test_the_description_has_no_links_into_the_repository():
    description = metadata.metadata("vkview").get_payload()
    assert "# vkview" in description
    assert [link for link in re.findall(r"\]\(([^)]*)\)", description) if not link.startswith("https://")] == []

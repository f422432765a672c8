"""The Export tab: what the explorer shows as files and as a link, and saved analyses opened again."""

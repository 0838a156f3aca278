"""What is measured, against whom, and the last results with the machine they ran on. See README.md."""

"""The root file system of a sandbox: what it is made of (`plan`, pure), and making it (`apply`, in init)."""

"""The embedded set: real video files of synthetic scenes whose causes are known."""

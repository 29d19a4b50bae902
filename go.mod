module github.com/logd-dev/logd

go 1.26

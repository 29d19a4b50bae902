package group

import (
	"fmt"
	"os"
)

var debugging = os.Getenv("LOGD_DEBUG") != ""

// show shows what happens, where a seed is looked into.
func show(a ...any) {
	if debugging {
		fmt.Println(a...)
	}
}

tree=$(module_folder "k8s.io/kubernetes@$V_kubernetes")
gcc -Os -static "-DVERSION=$V_pause" -o "$OUT/pause" "$tree/build/pause/linux/pause.c"
for name in "$I_pause" "$I_sandbox"; do printf 'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n' | image "$name"; done

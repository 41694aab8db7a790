# kubefab: doctor.gather
main() (
rm -f -- "$0"
folder=/run/kubefab-doctor
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/libexec
cd /

cat "$folder/log" 2>/dev/null
p=$(cat "$folder/pid" 2>/dev/null) && kill -TERM "-$p" 2>/dev/null
for i in $(seq 40); do [ -d "$folder" ] || break; sleep 0.05; done
rm -rf -- "$folder"
echo "@@ end"
)
main

# Real programs of the distribution, a function `work_NAME` each; $1 is how much work. What they print is compared between machines,
# so nothing in it may depend on time.
# Programs that busybox has a smaller namesake of are named by their path: its shell prefers its own.

prepare_data() {
  cat /usr/include/*.h | head -c 1200000 > /tmp/text
  head -c 2000000 /usr/bin/perl > /tmp/binary
  /usr/bin/gzip -n < /tmp/text > /tmp/text.gz
  /usr/bin/xz -1 < /tmp/text > /tmp/text.xz
  # With as few timer interrupts as it can do with, for it stays up while the others run.
  redis-server --hz 1 --save '' --appendonly no --daemonize yes --logfile /dev/null --dir /tmp > /tmp/redis
  until redis-cli ping > /tmp/redis 2>&1; do usleep 5000; done
}

work_xz() { head -c "$1"000 /tmp/text | /usr/bin/xz -6 -T1; }
work_unxz() { repeat "$1" /usr/bin/xz -d -c /tmp/text.xz; }
work_gzip() { head -c "$1"000 /tmp/text | /usr/bin/gzip -n; }
work_gunzip() { repeat "$1" /usr/bin/gzip -d -c /tmp/text.gz; }
work_zstd() { repeat "$1" zstd -q -3 --single-thread -c /tmp/text; }

work_sha512() { repeat "$1" openssl dgst -sha512 /tmp/text; }
work_aes() {
  repeat "$1" openssl enc -aes-256-cbc -in /tmp/binary \
    -K 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f -iv 000102030405060708090a0b0c0d0e0f
}

work_python() { python3.13 -I -S -B work.py "$1"; }
work_perl() { /usr/bin/perl work.pl "$1" < /tmp/text; }
work_lua() { lua5.4 work.lua "$1"; }
work_awk() { repeat "$1" mawk -f work.awk /tmp/text; }
work_text() { head -c "$1"00000 /tmp/text > /tmp/part && sh -c "tr -cs A-Za-z_ '\n' < /tmp/part | grep -v '^.\{0,3\}\$' | sort | uniq -c | sort -rn"; }
work_shell() { sh work.sh "$1"; }

work_sqlite() {
  sqlite3 :memory: "
    create table item(id integer primary key, owner integer, name text, price real);
    with recursive n(i) as (select 1 union all select i + 1 from n where i < $1 * 100)
      insert into item select i, i * 7919 % 997, 'item ' || (i * 31 % 4099), i % 89 * 1.25 from n;
    create index by_owner on item(owner, price);
    select owner, count(*), sum(price), max(name) from item group by owner order by 3 desc limit 20;
    update item set price = price * 1.5 where owner % 3 = 0;
    select count(*), total(a.price) from item a join item b on b.owner = a.owner and b.price = a.price where a.id < $1;
    delete from item where name like '%7';
    select count(*), total(length(name)) from item;"
}

work_redis() {
  redis-benchmark -q -n "$1"00 -c 20 -t incr,lpush > /tmp/redis
  printf 'get counter:__rand_int__\nllen mylist\nflushall\n' | redis-cli
}

work_compile() { repeat "$1" gcc -O2 -S -o - memory.c; }
work_build() { repeat "$1" sh -c 'gcc -O1 -shared -fPIC -o /tmp/main.so main.c && cat /tmp/main.so'; }

# Prints what the last of them printed: a checksum of all would be as much work as some of the programs.
repeat() {
  local n=$1
  shift
  while [ "$n" -gt 0 ]; do
    "$@" > /tmp/last || return
    n=$((n - 1))
  done
  cat /tmp/last
}
